import { counted, jsonLine, printable } from "../../terminal.ts";
import { sanForms } from "../../watchlist/domain.ts";
import { buildWatchList } from "../../watchlist/matcher.ts";
import { readWatchList } from "../../watchlist/read.ts";
import { commandDeadlineMs, type DatabaseFlags, withDatabase } from "../with-database.ts";

/** An entry that a SAN matches, and why, in words. */
export interface Explanation {
  entry: string;
  why: string;
}

/**
 * Says which entries of the watch list a name in a certificate matches.
 *
 * @returns the exit status: 1 where none does.
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

/** @param entry one that the SAN matches. */
export function explainMatch(san: string, entry: string): Explanation {
  const [plain, ...others] = sanForms(san);
  for (const form of [plain!, ...others]) {
    const why = explainForm(form, entry);
    if (why === null) continue;
    return { entry, why: form === plain ? why : `${readAs(san, form)}; ${why}` };
  }
  return { entry, why: "it matches in doubt" };
}

/** The rules of `NameIndex.findCovering` in words; `null` where this form is not the one that matches. */
function explainForm(form: string, entry: string): string | null {
  if (!form.startsWith("*.")) {
    if (form === entry) return "it is the entry itself";
    return form.endsWith(`.${entry}`) ? "it is a name below the entry" : null;
  }
  const base = form.slice(2);
  if (base === entry) return "the wildcard stands for every name directly below the entry";
  if (base.endsWith(`.${entry}`))
    return `the wildcard stands for names below ${base}, which is below the entry`;
  if (entry.slice(entry.indexOf(".") + 1) === base) {
    return `the wildcard is valid for the entry, which is one label below ${base}`;
  }
  return null;
}

/** Why a SAN that is no plain host name is read as `form` too. */
function readAs(san: string, form: string): string {
  const name = san.trim();
  const bare = name.replace(/^https?:\/\//i, "");
  const done = bare === name ? [] : ["without its http:// or https://"];
  const [end] = /[\0\s/\u0085]/.exec(bare) ?? [];
  if (end !== undefined && !form.includes(end)) {
    done.push(`cut at the first ${end === "\0" ? "NUL" : end === "/" ? "/" : "white space"}`);
  }
  return `it is no plain host name and is read as ${form} too, ${done.join(" and ") || "in doubt"}`;
}
