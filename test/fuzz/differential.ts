import { pino } from "pino";
import { Prefilter } from "../../src/feed/prefilter.ts";
import { Watcher } from "../../src/feed/watcher.ts";
import { createMetrics } from "../../src/metrics.ts";
import { buildWatchList, type WatchList } from "../../src/watchlist/matcher.ts";
import { naiveEntry, naiveMatch } from "../support/naive-matcher.ts";
import { hasSecondNames } from "../support/second-names.ts";
import { aMessage, aRow, namePool, withEdits } from "./hostile-messages.ts";
import { Random } from "./random.ts";

const prefilter = new Prefilter();

/** A watch list serves so many messages. */
const messagesPerList = 2_000;
/** Edits that repeat make messages grow. */
const maxMessageBytes = 10_000;

type NaiveMatch = (name: string) => readonly string[];

/** The definition, applied once to each name that comes again. */
export function remembered(entries: readonly string[]): NaiveMatch {
  const known = new Map<string, string[]>();
  return (name) => {
    const before = known.get(name);
    if (before !== undefined) return before;
    const found = naiveMatch(entries, name);
    known.set(name, found);
    return found;
  };
}

/** The entries that a message is about by the definition: `JSON.parse`, then entry by entry. Null: it has no names. */
export function expectedEntries(message: Buffer, match: NaiveMatch): string[] | null {
  // biome-ignore lint/suspicious/noExplicitAny: it is whatever the bytes say
  let parsed: any;
  try {
    parsed = JSON.parse(message.toString());
  } catch {
    return null;
  }
  const names =
    parsed?.message_type === "certificate_update" ? parsed.data?.leaf_cert?.all_domains : undefined;
  if (!Array.isArray(names)) return null;
  const found = new Set<string>();
  for (const name of names) {
    if (typeof name === "string") for (const entry of match(name)) found.add(entry);
  }
  return [...found].sort();
}

/** What the service does with a message, up to the recorder. */
export interface Pipeline {
  watch(list: WatchList): void;
  /** The entries that it reports; null: none. */
  matchedBy(message: Buffer): string[] | null;
  /** Messages that made it throw. */
  errors(): number;
}

export function openPipeline(): Pipeline {
  let current: WatchList;
  let matched: string[] | null = null;
  let errors = 0;
  const log = pino({ level: "error" }, { write: () => (errors += 1) });
  const watcher = new Watcher({
    log,
    metrics: createMetrics({ version: "0", feeds: [] }),
    watchList: () => current,
    onMatch: (_update, { entries }) => {
      matched = entries;
    },
  });
  return {
    watch: (list) => {
      current = list;
    },
    matchedBy(message) {
      matched = null;
      watcher.receive(message);
      return matched;
    },
    errors: () => errors,
  };
}

/** How often each thing happened that a run is to have had. */
export interface Seen {
  skipped: number;
  edited: number;
  hits: number;
  editedHits: number;
  notNames: number;
  /** Passed over for what stands in them twice, see `hasSecondNames`. */
  secondNames: number;
}

/**
 * Holds prefilter, parser and index to the definition, message by message: none missed, none invented.
 *
 * @throws at the first difference, with everything that it takes to repeat it.
 */
export async function compare({ seed, count }: { seed: number; count: number }): Promise<Seen> {
  const random = new Random(seed);
  const pool = namePool(seed);
  const pipeline = openPipeline();
  const seen: Seen = { skipped: 0, edited: 0, hits: 0, editedHits: 0, notNames: 0, secondNames: 0 };
  let entries: string[] = [];
  let match: NaiveMatch = () => [];
  let watchList = (await buildWatchList([])).watchList;
  let last = aMessage(random, pool);
  for (let i = 0; i < count; i++) {
    if (i % messagesPerList === 0) {
      const rows = Array.from({ length: 1 + random.below(5) }, () => aRow(random, pool));
      watchList = (await buildWatchList(rows)).watchList;
      pipeline.watch(watchList);
      // Once here instead of once for each name.
      entries = rows.map(naiveEntry).filter((entry) => entry !== null);
      match = remembered(entries);
    }
    const base = random.oneIn(8) ? last : aMessage(random, pool);
    const edits = random.oneIn(4) ? 0 : 1 + random.below(random.oneIn(8) ? 6 : 2);
    const message = withEdits(random, pool, base, edits);
    if (message.length < maxMessageBytes) last = message;

    const expected = expectedEntries(message, match);
    const isHit = expected !== null && expected.length > 0;
    seen.skipped += Number(prefilter.canSkip(message, watchList.table));
    seen.edited += Number(edits > 0);
    seen.hits += Number(isHit);
    seen.editedHits += Number(isHit && edits > 0);
    const matched = pipeline.matchedBy(message);
    // Where there is no array of names the parser may still find some: a match too many is no match missed.
    if (expected === null) seen.notNames += 1;
    else if ((matched ?? []).join() !== expected.join()) {
      if (matched === null && hasSecondNames(message)) {
        seen.secondNames += 1;
        continue;
      }
      const found = { entries, expected, matched, message: message.toString("latin1") };
      throw new Error(`FUZZ_SEED=${seed}, message ${i}: ${JSON.stringify(found)}`);
    }
  }
  if (pipeline.errors() > 0)
    throw new Error(`FUZZ_SEED=${seed}: ${pipeline.errors()} messages made the pipeline throw`);
  return seen;
}
