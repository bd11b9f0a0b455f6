import { setImmediate as nextTurn } from "node:timers/promises";
import { conversionBudget, parseWatchEntry, withALabels } from "./domain.ts";
import { listEntries, listSans } from "./listing.ts";
import type { NameTable } from "./name-hash.ts";
import { Found, NameIndex } from "./name-index.ts";

/** One turn of a saturated feed takes 0.8 ms, so this leaves it three quarters of the time. */
const sliceMs = 0.25;
/** Reading the clock takes as long as reading an entry. */
const entriesBetweenClocks = 16;
const maxExamples = 10;
const maxExampleChars = 100;

/** The watch list as the matching uses it. It never changes: a refresh replaces it as a whole. */
export interface WatchList {
  /** Distinct usable entries. */
  readonly size: number;
  /** For the prefilter: holds every plain host name that `match` finds an entry for. */
  readonly table: NameTable;
  /** Finds which entries cover names, and has the entries that were found. */
  readonly index: Omit<NameIndex, "add">;
  /** All entries that cover a SAN, without duplicates, in no particular order. A wildcard may cover every entry. */
  match(san: string): string[];
}

/** The names of a certificate that are watched, and the entries that cover them. */
export interface Match {
  /** Sorted, unique; at most 10,000, and at most 1,000 for one wildcard. */
  entries: string[];
  /** Sorted, unique, as the certificate has them; at most 10,000. Only the end of a very long one is here. */
  sans: string[];
  /** How many entries and SANs belong to the match and were left out of the two lists. */
  namesTruncated: number;
}

/** Rows of the watch list that are not usable, with the first few of them (cut to 100 characters). */
export interface SkippedEntries {
  readonly count: number;
  /** `problem` is a phrase that can follow the row: `has only one label`. */
  readonly examples: readonly { readonly raw: string; readonly problem: string }[];
}

/**
 * Builds the watch list from the rows of its table, in short slices between which the event loop turns. The rows must not
 * change meanwhile. No row can make it reject.
 */
export async function buildWatchList(
  rawEntries: Iterable<string> & { readonly length: number },
): Promise<{ watchList: WatchList; skipped: SkippedEntries }> {
  const index = new NameIndex(rawEntries.length);
  const examples: { raw: string; problem: string }[] = [];
  let skippedCount = 0;
  let sliceEnd = 0; // taking the index's memory was the first slice
  let untilClock = 0;
  for (const raw of rawEntries) {
    const parsed = parseWatchEntry(raw);
    if ("entry" in parsed) {
      index.add(parsed.entry);
    } else {
      skippedCount++;
      if (examples.length < maxExamples) {
        examples.push({ raw: raw.slice(0, maxExampleChars), problem: parsed.problem });
      }
    }
    if (untilClock-- > 0) continue;
    untilClock = entriesBetweenClocks;
    if (performance.now() < sliceEnd) continue;
    await nextTurn();
    sliceEnd = performance.now() + sliceMs;
  }
  return { watchList: toWatchList(index), skipped: { count: skippedCount, examples } };
}

function toWatchList(index: NameIndex): WatchList {
  return {
    size: index.size,
    table: index.table,
    index,
    match(san) {
      const found = new Found();
      index.findCovering(withALabels(san, conversionBudget()), found);
      for (const newest of found.groups) for (const number of index.group(newest)) found.entries.add(number);
      return Array.from(found.entries, (number) => index.entry(number));
    },
  };
}

/** Looks up the names of one certificate; `null` if none is watched. Takes time linear in the names. */
export function matchNames(names: readonly string[], { index }: WatchList): Match | null {
  const found = new Found();
  const budget = conversionBudget();
  const covered: string[] = [];
  for (const name of new Set(names)) {
    if (index.findCovering(withALabels(name, budget), found)) covered.push(name);
  }
  if (covered.length === 0) return null;
  const entries = listEntries(found, index);
  const sans = listSans(covered, entries.names);
  return {
    entries: entries.names.sort(),
    sans: sans.names.sort(),
    namesTruncated: entries.leftOut + sans.leftOut,
  };
}
