import { formatTable, jsonLine, printable } from "../../terminal.ts";
import { parseWatchEntry } from "../../watchlist/domain.ts";
import { addWatchEntries, removeWatchRows } from "../../watchlist/edit.ts";
import { buildWatchList } from "../../watchlist/matcher.ts";
import { readWatchList } from "../../watchlist/read.ts";
import { commandDeadlineMs, type DatabaseFlags, upstreamTable, withDatabase } from "../with-database.ts";

const table = "public.intent_current";

/**
 * Normalizes names and adds them to the watch list.
 *
 * @returns the exit status: 1 if a name was refused.
 */
export async function watchAdd(names: string[], options: DatabaseFlags): Promise<number> {
  const entries = new Set<string>();
  let refused = 0;
  for (const name of names) {
    const parsed = parseWatchEntry(name);
    if ("entry" in parsed) {
      entries.add(parsed.entry);
    } else {
      refused += 1;
      console.error(`refused ${printable(JSON.stringify(name))}: it ${parsed.problem}`);
    }
  }
  if (entries.size === 0) return 1;
  await withDatabase({ ...options, mayCreate: true }, async (db) => {
    await upstreamTable(db, table, ["fqdn"]);
    const { watchList } = await buildWatchList(await readWatchList(db, commandDeadlineMs));
    const fresh = [...entries].filter((entry) => !watchList.match(entry).includes(entry));
    if (fresh.length > 0) await addWatchEntries(db, fresh, commandDeadlineMs);
    for (const entry of entries) {
      const verb = fresh.includes(entry) ? "added" : "already there:";
      const [wider] = watchList.match(entry).filter((other) => other !== entry);
      const note = wider === undefined ? "" : ` (so does ${wider}, which is on the list too)`;
      console.log(`${verb} ${entry}, covers ${entry} and every name below it${note}`);
    }
  });
  return refused > 0 ? 1 : 0;
}

/** Prints the rows of the watch list, and the problem of each unusable row. */
export async function watchList(options: DatabaseFlags & { json: boolean }): Promise<void> {
  const fqdns = await withDatabase({ ...options, mayCreate: false }, (db) =>
    readWatchList(db, commandDeadlineMs),
  );
  const rows = fqdns
    .map((fqdn) => {
      const parsed = parseWatchEntry(fqdn);
      return "entry" in parsed
        ? { fqdn, entry: parsed.entry, problem: null }
        : { fqdn, entry: null, problem: parsed.problem };
    })
    .sort((one, other) => compare(one.entry ?? "", other.entry ?? "") || compare(one.fqdn, other.fqdn));
  if (options.json) {
    for (const row of rows) console.log(jsonLine(row));
  } else if (rows.length === 0) {
    console.log('The watch list is empty: nothing can match. Add your domains with "certwatch watch add".');
  } else {
    const cells = rows.map(({ fqdn, entry, problem }) => [fqdn, entry ?? `not used: it ${problem}`]);
    console.log(formatTable([{ title: "ROW" }, { title: "WATCHED, WITH EVERY NAME BELOW" }], cells));
  }
}

/**
 * Removes names from the watch list, in every spelling that the watch list has.
 *
 * @returns the exit status: 1 if a name was not on the watch list.
 */
export async function watchRemove(names: string[], options: DatabaseFlags): Promise<number> {
  return await withDatabase({ ...options, mayCreate: false }, async (db) => {
    await upstreamTable(db, table, ["fqdn"]);
    const fqdns = await readWatchList(db, commandDeadlineMs);
    const doomed = new Set<string>();
    const absent: string[] = [];
    for (const name of names) {
      const rows = fqdns.filter((fqdn) => fqdn === name || isSameEntry(fqdn, name));
      for (const row of rows) doomed.add(row);
      if (rows.length === 0) absent.push(name);
    }
    if (doomed.size > 0) await removeWatchRows(db, [...doomed], commandDeadlineMs);
    const { watchList: left } = await buildWatchList(fqdns.filter((fqdn) => !doomed.has(fqdn)));
    for (const fqdn of doomed) {
      const [wider] = left.match(fqdn);
      console.log(`removed ${printable(fqdn)}${wider === undefined ? "" : `; ${wider} still covers it`}`);
    }
    for (const name of absent) console.error(`not on the watch list: ${printable(JSON.stringify(name))}`);
    return absent.length > 0 ? 1 : 0;
  });
}

function isSameEntry(fqdn: string, name: string): boolean {
  const [one, other] = [parseWatchEntry(fqdn), parseWatchEntry(name)];
  return "entry" in one && "entry" in other && one.entry === other.entry;
}

function compare(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
