import { counted, jsonLine, printable } from "../../terminal.ts";
import { namesIn, normalName } from "../../watchlist/domain.ts";
import { buildWatchList } from "../../watchlist/matcher.ts";
import { readWatchList } from "../../watchlist/read.ts";
import { commandDeadlineMs, type DatabaseFlags, withDatabase } from "../with-database.ts";

/** An entry that a SAN matches, and the reason in words. */
export interface Explanation {
  entry: string;
  why: string;
}

/**
 * Prints which entries of the watch list a name in a certificate matches.
 *
 * @returns the exit status: 1 if the name matches no entry.
 */
export async function watchExplain(san: string, options: DatabaseFlags & { json: boolean }): Promise<number> {
  const fqdns = await withDatabase({ ...options, mayCreate: false }, (db) =>
    readWatchList(db, commandDeadlineMs),
  );
  const { watchList, skipped } = await buildWatchList(fqdns);
  const explanations = watchList
    .match(san)
    .sort()
    .map((entry) => explainMatch(san, entry));
  if (options.json) {
    console.log(jsonLine({ san, matches: explanations }));
  } else if (explanations.length === 0) {
    console.log(
      `A certificate for ${printable(san)} matches nothing: none of ${counted(watchList.size, "entry", "entries")} covers it.`,
    );
  } else {
    for (const { entry, why } of explanations) {
      console.log(`A certificate for ${printable(san)} matches ${entry}: ${printable(why)}.`);
    }
  }
  if (skipped.count > 0) {
    console.error(
      `${counted(skipped.count, "row")} of the watch list cannot be used: "certwatch watch list" says why.`,
    );
  }
  return explanations.length > 0 ? 0 : 1;
}

/** @param entry an entry that the SAN matches. */
export function explainMatch(san: string, entry: string): Explanation {
  const whole = normalName(san);
  for (const name of namesIn(san)) {
    const why = explainName(name, entry);
    if (why !== null) return { entry, why: name === whole ? why : `it contains the name ${name}; ${why}` };
  }
  return { entry, why: "the name is unusual, and the entry may cover it" };
}

/** Returns in words the rule of `NameIndex.findCovering` by which the name matches the entry; `null` if none does. */
function explainName(name: string, entry: string): string | null {
  if (!name.startsWith("*.")) {
    if (name === entry) return "it is the entry itself";
    return name.endsWith(`.${entry}`) ? "it is a name below the entry" : null;
  }
  const base = name.slice(2);
  if (base === entry) return "the wildcard stands for every name directly below the entry";
  if (base.endsWith(`.${entry}`))
    return `the wildcard stands for names below ${base}, which is below the entry`;
  if (entry.slice(entry.indexOf(".") + 1) === base) {
    return `the wildcard is valid for the entry, which is one label below ${base}`;
  }
  return null;
}
