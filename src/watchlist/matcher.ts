import { setImmediate as nextTurn } from "node:timers/promises";
import { conversionBudget, parseWatchEntry, withALabels } from "./domain.ts";
import { listEntries, listSans } from "./listing.ts";
import type { NameTable } from "./name-hash.ts";
import { Found, NameIndex } from "./name-index.ts";

/** The length of a slice. One turn of a saturated feed takes 0.8 ms, so the feed keeps three quarters of the time. */
const sliceMs = 0.25;
/** How many entries are read between two looks at the clock. A look takes as long as reading an entry. */
const entriesBetweenClocks = 16;
const maxExamples = 10;
const maxExampleChars = 100;

/** The watch list as the matching uses it. It never changes: a refresh replaces it as a whole. */
export interface WatchList {
  /** Distinct usable entries. */
  readonly size: number;
  /** The hash table of the prefilter: `match` finds no entry for a plain host name that this table excludes. */
  readonly table: NameTable;
  /** Finds the numbers of the entries that cover a name, and returns the entry of a number. */
  readonly index: Omit<NameIndex, "add">;
  /** Returns all entries that cover a SAN, unique, in no particular order. A wildcard may cover every entry. */
  match(san: string): string[];
}

/** The names of a certificate that are watched, and the entries that cover them. */
export interface Match {
  /** The entries, sorted and unique: at most 10,000, and at most 1,000 for one wildcard. */
  entries: string[];
  /** The names as the certificate has them, sorted and unique: at most 10,000. Of a very long name, only the end. */
  sans: string[];
  /** How many entries and SANs of this match were left out of the two lists. */
  namesTruncated: number;
}

/** How many rows of the watch list are unusable, and the first few of these rows (cut to 100 characters). */
export interface SkippedEntries {
  readonly count: number;
  /** `problem` is a phrase that can follow the row: `has only one label`. */
  readonly examples: readonly { readonly raw: string; readonly problem: string }[];
}

/**
 * Builds the watch list from the rows of its table, in short slices between which the event loop turns. The rows must
 * not change meanwhile. No row can make the promise reject.
 */
export async function buildWatchList(
  rawEntries: Iterable<string> & { readonly length: number },
): Promise<{ watchList: WatchList; skipped: SkippedEntries }> {
  const index = new NameIndex(rawEntries.length);
  const examples: { raw: string; problem: string }[] = [];
  let skippedCount = 0;
  let sliceEnd = 0; // allocating the index took the first slice
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

/** Looks up the names of one certificate. Returns `null` if none is watched. Takes time linear in the names' length. */
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
