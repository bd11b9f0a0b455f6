import { setImmediate as nextTurn } from "node:timers/promises";
import { parseWatchEntry, sanForms } from "./domain.ts";
import type { NameTable } from "./name-hash.ts";
import { NameIndex } from "./name-index.ts";

/** A saturated feed has the event loop for 0.8 ms a turn: this leaves it three quarters of the time. */
const sliceMs = 0.25;
/** Reading the clock costs as much as an entry. */
const entriesBetweenClocks = 16;
const maxExamples = 10;
const maxExampleChars = 100;

/** The watch list as the matching sees it: immutable, replaced whole by a refresh. */
export interface WatchList {
  /** Distinct valid entries. */
  readonly size: number;
  /** For the prefilter: has every name that `match` finds an entry for. */
  readonly table: NameTable;
  /**
   * The entries that cover `san` (a name as a certificate has it), in no particular order, without duplicates.
   * Costs O(labels of the SAN).
   */
  match(san: string): string[];
}

/** The names of a certificate that are watched, and the entries that cover them. Both sorted and unique. */
export interface Match {
  entries: string[];
  sans: string[];
}

/** Rows of the watch list that are not usable, with the first few of them (cut to 100 characters). */
export interface SkippedEntries {
  readonly count: number;
  /** `problem` goes on from the entry's name: `has only one label`. */
  readonly examples: readonly { readonly raw: string; readonly problem: string }[];
}

/**
 * Builds the watch list from the raw rows of its table (of known number), in short slices between which the event loop
 * turns. The rows must not change meanwhile. Never rejects for an entry's sake.
 */
export async function buildWatchList(
  rawEntries: Iterable<string> & { readonly length: number },
): Promise<{ watchList: WatchList; skipped: SkippedEntries }> {
  const index = new NameIndex(rawEntries.length);
  const examples: { raw: string; problem: string }[] = [];
  let skippedCount = 0;
  let sliceEnd = 0; // the index's memory has taken the first slice
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
    match(san) {
      const found = new Set<number>();
      for (const form of sanForms(san)) index.findCovering(form, found);
      return Array.from(found, (number) => index.entry(number));
    },
  };
}

/** `null` where no name is watched. */
export function matchNames(names: string[], watchList: WatchList): Match | null {
  const entries = new Set<string>();
  const sans = new Set<string>();
  for (const name of names) {
    const covering = watchList.match(name);
    if (covering.length === 0) continue;
    sans.add(name);
    for (const entry of covering) entries.add(entry);
  }
  return sans.size === 0 ? null : { entries: [...entries].sort(), sans: [...sans].sort() };
}
