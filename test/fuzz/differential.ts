import { pino } from "pino";
import { canSkip } from "../../src/feed/prefilter.ts";
import { Watcher } from "../../src/feed/watcher.ts";
import { createMetrics } from "../../src/metrics.ts";
import { buildWatchList, type WatchList } from "../../src/watchlist/matcher.ts";
import { naiveEntry, naiveMatch } from "../support/naive-matcher.ts";
import { aJoinedFrame, aMessage, aRow, namePool, withEdits } from "./hostile-messages.ts";
import { Random } from "./random.ts";

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

/** What a frame is about by the definition. */
export interface Expected {
  /** The entries, sorted. */
  entries: string[];
  /** False if something in the frame is no JSON, or has no names: certwatch may find more there. */
  isWhole: boolean;
}

/** `JSON.parse` of each JSON text in the frame, then entry by entry. */
export function expectedOf(frame: Buffer, match: NaiveMatch): Expected {
  const found = new Set<string>();
  const { values, isWhole } = jsonValues(frame.toString());
  let hasNames = true;
  for (const value of values) {
    const names = namesIn(value);
    if (names === null) hasNames = false;
    for (const name of names ?? textNames(value, frame)) for (const entry of match(name)) found.add(entry);
  }
  return { entries: [...found].sort(), isWhole: isWhole && hasNames };
}

// biome-ignore lint/suspicious/noExplicitAny: it is whatever the bytes say
type Any = any;

/** The objects in a frame. V8 says where a JSON text ends if something stands behind it. */
function jsonValues(text: string): { values: Any[]; isWhole: boolean } {
  const values: Any[] = [];
  for (let start = text.indexOf("{"); start !== -1; ) {
    const rest = text.slice(start);
    const whole = parsed(rest);
    if (!(whole instanceof SyntaxError)) return { values: [...values, whole], isWhole: true };
    const end = Number(/after JSON at position (\d+)/.exec(whole.message)?.[1] ?? 0);
    if (end === 0) return { values, isWhole: false };
    values.push(parsed(rest.slice(0, end)));
    start = text.indexOf("{", start + end);
  }
  return { values, isWhole: true };
}

function parsed(text: string): Any {
  try {
    return JSON.parse(text);
  } catch (error) {
    return error;
  }
}

const leafOf = (value: Any): Any =>
  value?.message_type === "certificate_update" ? value.data?.leaf_cert : undefined;

function namesIn(value: Any): string[] | null {
  const names = leafOf(value)?.all_domains;
  return Array.isArray(names) ? names.filter((name) => typeof name === "string") : null;
}

/** Where a leaf has no array of names: those in the text of its SAN extension, unless another leaf is in the frame. */
function textNames(value: Any, frame: Buffer): string[] {
  const text = leafOf(value)?.extensions?.subjectAltName;
  if (typeof text !== "string" || frame.toString("latin1").split(/"leaf_cert"|\\u/).length > 2) return [];
  return text.split(", ").flatMap((part) => /^DNS:([a-z0-9_.*-]+)$/.exec(part)?.[1] ?? []);
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
  const write = (line: string) => {
    errors += Number(line.includes("a message could not be processed"));
  };
  const log = pino({ level: "error" }, { write });
  const watcher = new Watcher({
    feeds: ["feed"],
    log,
    metrics: createMetrics({ version: "0", feeds: [] }),
    watchList: () => current,
    onMatch: (_update, { entries }) => {
      matched = [...new Set([...(matched ?? []), ...entries])].sort();
    },
  });
  return {
    watch: (list) => {
      current = list;
    },
    matchedBy(message) {
      matched = null;
      watcher.receive(message, 0);
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
  /** Frames in which several messages stand, or a message and something else. */
  joined: number;
  joinedHits: number;
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
  const seen: Seen = { skipped: 0, edited: 0, hits: 0, editedHits: 0, notNames: 0, joined: 0, joinedHits: 0 };
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
    const isJoined = random.oneIn(10);
    const base = isJoined ? aJoinedFrame(random, pool) : random.oneIn(8) ? last : aMessage(random, pool);
    const edits = random.oneIn(4) ? 0 : 1 + random.below(random.oneIn(8) ? 6 : 2);
    const message = withEdits(random, pool, base, edits);
    if (message.length < maxMessageBytes) last = message;

    const expected = expectedOf(message, match);
    const isHit = expected.entries.length > 0;
    seen.skipped += Number(canSkip(message, watchList.table));
    seen.edited += Number(edits > 0);
    seen.hits += Number(isHit);
    seen.editedHits += Number(isHit && edits > 0);
    seen.joined += Number(isJoined);
    seen.joinedHits += Number(isHit && isJoined);
    seen.notNames += Number(!expected.isWhole);
    const matched = pipeline.matchedBy(message) ?? [];
    const missed = expected.entries.filter((entry) => !matched.includes(entry));
    if (missed.length > 0 || (expected.isWhole && matched.length > expected.entries.length)) {
      const found = { entries, expected, matched, message: message.toString("latin1") };
      throw new Error(`FUZZ_SEED=${seed}, message ${i}: ${JSON.stringify(found)}`);
    }
  }
  if (pipeline.errors() > 0)
    throw new Error(`FUZZ_SEED=${seed}: ${pipeline.errors()} messages made the pipeline throw`);
  return seen;
}
