import { hasBytesAt, hasBytesBefore } from "./bytes.ts";
import { type CtLogs, noLog } from "./ct-logs.ts";

const sourceBytes = Buffer.from(',"source":{');
const urlKey = Buffer.from('"url":"');

/** The longest `source` object that is read, bytes. */
const maxSourceBytes = 1024;

/** How many spellings of `source` are remembered. Reading other spellings takes longer. */
const maxSources = 1024;

/** How many spellings one bucket holds, so that a server with endless spellings cannot make the search long. */
const maxBucketLength = 16;

/** The bytes at these distances before the end of a source choose its bucket. Most stand in shard, year and host. */
const bucketKey = [2, 4, 8, 11, 14, 26, 29, 31];
const bucketCount = 256;
const minRememberedBytes = 32;

/** One spelling of a `source` object: from `,"source":{` to the last quotation mark of name and URL. */
export interface Source {
  readonly url: string;
  /** The number that `CtLogs` gave to the URL when its generation was `generation`. */
  log: number;
  generation: number;
  readonly length: number;
  /** The bytes from `"url":"` to the end. A name that stands before them is not compared. */
  readonly compared: Buffer;
  readonly hasUrlFirst: boolean;
  readonly nextInBucket: Source | null;
}

/**
 * Remembers the `source` objects of a feed by their bytes, so that each spelling is parsed only once. A few bytes at
 * the end of a source choose the bucket; then its URL and its beginning are compared. A name between them is not
 * compared: the URL alone identifies the log.
 */
export class SourceTable {
  readonly #logs: CtLogs;
  readonly #buckets = new Array<Source | null>(bucketCount).fill(null);
  #sourceCount = 0;

  constructor(logs: CtLogs) {
    this.#logs = logs;
  }

  /** Returns the source whose name and URL end at `end`, or `null`. Allocates nothing for a known source. */
  endingAt(message: Buffer, end: number): Source | null {
    let hash = 0;
    for (let i = 0; i < bucketKey.length; i++) {
      hash = Math.imul(hash ^ (message[end - (bucketKey[i] as number)] as number), 0x2c1b3c6d);
    }
    const bucket = hash >>> 24;
    for (let source = this.#buckets[bucket] ?? null; source !== null; source = source.nextInBucket) {
      if (!hasBytesBefore(message, end, source.compared)) continue;
      if (!hasBytesAt(message, end - source.length, sourceBytes)) continue;
      if (source.generation !== this.#logs.generation) this.#setLog(source);
      return source;
    }
    return this.#newSource(message, end, bucket);
  }

  /** Parses a source that was not seen before. Returns `null` if the text is not a source. */
  #newSource(message: Buffer, end: number, bucket: number): Source | null {
    const start = message.lastIndexOf(sourceBytes, end - 1);
    if (start === -1 || end - start > maxSourceBytes) return null;
    const parsed = parseSource(message.toString("utf8", start + sourceBytes.length, end));
    if (parsed === null) return null;
    const urlStart = message.lastIndexOf(urlKey, end - 1);
    const source: Source = {
      url: parsed.url,
      log: noLog,
      generation: 0,
      length: end - start,
      compared: Buffer.from(message.subarray(urlStart, end)),
      hasUrlFirst: parsed.hasUrlFirst,
      nextInBucket: this.#buckets[bucket] ?? null,
    };
    this.#setLog(source);
    const isFull = this.#sourceCount === maxSources || lengthOf(source.nextInBucket) === maxBucketLength;
    if (!isFull && source.length >= minRememberedBytes) {
      this.#sourceCount += 1;
      this.#buckets[bucket] = source;
    }
    return source;
  }

  #setLog(source: Source): void {
    source.log = this.#logs.numberOf(source.url);
    source.generation = this.#logs.generation;
  }
}

function lengthOf(bucket: Source | null): number {
  return bucket === null ? 0 : 1 + lengthOf(bucket.nextInBucket);
}

/** Returns the URL of the members `"name":T,"url":T`, which may come in either order; `null` if there are others. */
function parseSource(members: string): { url: string; hasUrlFirst: boolean } | null {
  let source: Record<string, unknown>;
  try {
    source = JSON.parse(`{${members}}`);
  } catch {
    return null;
  }
  const [first, second, ...others] = Object.keys(source);
  const hasUrlFirst = first === "url" && second === "name";
  if ((!hasUrlFirst && !(first === "name" && second === "url")) || others.length > 0) return null;
  return typeof source.url === "string" ? { url: source.url, hasUrlFirst } : null;
}
