import {
  dot,
  hashStart,
  hashStep,
  mayEndIn,
  type NameTable,
  nameCodes,
  tableHas,
} from "../watchlist/name-hash.ts";
import { hasBytesAt, hasBytesBefore } from "./bytes.ts";

const newline = 0x0a;
const quote = 0x22;
const comma = 0x2c;
const colon = 0x3a;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const underscore = 0x5f;
const lowerA = 0x61;
const lowerS = 0x73;
const lowerZ = 0x7a;

const typeFirst = Buffer.from('{"message_type":"certificate_update","data":{');
const dataFirst = Buffer.from('{"data":{');
const typeLast = Buffer.from('},"message_type":"certificate_update"}');
const namesKey = Buffer.from('"all_domains":');
const leafStart = Buffer.from('"leaf_cert":{"all_domains":');

// What servers write behind the names of the leaf if the leaf does not begin with them.
const derNext = Buffer.from(',"as_der":"');
const extensionsNext = Buffer.from(',"extensions":{');
const chainNext = Buffer.from('},"chain":[');
const indexNext = Buffer.from('},"cert_index":');

/**
 * Returns true if the bytes show that the frame is one `certificate_update` message without a watched name, so that
 * nobody needs to parse it. False means "parse the frame to find out". Allocates nothing.
 *
 * True needs all of this:
 * - The message type stands at the start or at the end, as the servers write it.
 * - Every `[` of the frame follows a plain key, `"chain":[` for example: the prefilter looks at each of them.
 * - One of them, and only one, begins the `all_domains` of the leaf. Every name in it is plain and not covered.
 * - Every other `all_domains` stands before it, and begins an object of an array: the certificates of
 *   certstream-server-go's chain.
 *
 * So a second message in the frame, or names that stand twice, lead to false: they would need one more array. Text
 * inside a certificate cannot cause a skip, because servers escape quotation marks in strings. An unescaped quotation
 * mark behind a letter ends a string, and with `:[` behind it the string is a key.
 *
 * The parser takes names from the text of the SAN extension if a leaf has no `all_domains`. There is no defence against
 * a server that writes one leaf with names and, in the same frame, another without: it could also send nothing.
 */
export function canSkip(frame: Buffer, table: NameTable): boolean {
  if (!isCertificateUpdate(frame)) return false;
  let hasLeafNames = false;
  let isFirst = true;
  let at = frame.indexOf(openBracket);
  while (at !== -1) {
    if (frame[at - 1] !== colon || frame[at - 2] !== quote) return false;
    let next = at + 1;
    if (frame[at - 3] === lowerS && frame[at - namesKey.length] === quote) {
      // The key has the length of `"all_domains"`.
      if (hasLeafNames) return false;
      const keyStart = at - namesKey.length;
      if (!isInArray(frame, keyStart)) {
        next = endOfLeafNames(frame, keyStart, isFirst, table);
        if (next === -1) return false;
        hasLeafNames = true;
      }
    } else if (!isPlainKey(frame, at - 3)) {
      return false;
    }
    isFirst = false;
    at = frame.indexOf(openBracket, next);
  }
  return hasLeafNames;
}

/** Whether the frame begins and ends like a `certificate_update` of one of the servers. */
function isCertificateUpdate(frame: Buffer): boolean {
  const end = frame[frame.length - 1] === newline ? frame.length - 1 : frame.length;
  if (frame[end - 1] !== closeBrace) return false;
  if (frame[end - 2] === quote)
    return looksLike(frame, end - typeLast.length, typeLast) && looksLike(frame, 0, dataFirst);
  return frame[end - 2] === closeBrace && looksLike(frame, 0, typeFirst);
}

/**
 * Compares every third byte from `at` on with `expected`. That tells the texts that servers write from each other, and
 * costs a third.
 */
function looksLike(frame: Buffer, at: number, expected: Buffer): boolean {
  for (let offset = 0; offset < expected.length; offset += 3) {
    if (frame[at + offset] !== expected[offset]) return false;
  }
  return true;
}

/** Whether the key that begins at `keyStart` is the first one of an object in an array, as in `[{"all_domains":`. */
function isInArray(frame: Buffer, keyStart: number): boolean {
  if (frame[keyStart - 1] !== openBrace) return false;
  const before = frame[keyStart - 2];
  return before === openBracket || (before === comma && frame[keyStart - 3] === closeBrace);
}

/** Whether the key that ends at `last` has only lower-case letters and `_`, and is not `all_domains`. */
function isPlainKey(frame: Buffer, last: number): boolean {
  let at = last;
  for (let byte = frame[at]; isKeyByte(byte); byte = frame[at]) at--;
  const before = frame[at - 1];
  return frame[at] === quote && (before === comma || before === openBrace);
}

const isKeyByte = (byte: number | undefined): boolean =>
  byte !== undefined && ((byte >= lowerA && byte <= lowerZ) || byte === underscore);

/**
 * Returns the index of the `]` behind the names whose key begins at `keyStart`. Returns -1 if a name must be parsed, or
 * if it is not certain that these are the names of the leaf.
 */
function endOfLeafNames(frame: Buffer, keyStart: number, isFirst: boolean, table: NameTable): number {
  const namesStart = keyStart + namesKey.length + 1;
  if (frame[keyStart - 1] === openBrace) {
    return hasBytesBefore(frame, namesStart - 1, leafStart) ? endOfClearArray(frame, namesStart, table) : -1;
  }
  if (!isFirst || frame[keyStart - 1] !== comma || !hasBytesAt(frame, keyStart, namesKey)) return -1;
  const end = endOfClearArray(frame, namesStart, table);
  return end !== -1 && isBehindLateNames(frame, end + 1) ? end : -1;
}

/** Whether at `at` stands what servers write behind the names of the leaf if the leaf does not begin with them. */
function isBehindLateNames(frame: Buffer, at: number): boolean {
  return (
    looksLike(frame, at, derNext) ||
    looksLike(frame, at, extensionsNext) ||
    looksLike(frame, at, chainNext) ||
    looksLike(frame, at, indexNext)
  );
}

/**
 * Returns the index of the `]` behind `"name",...]`, which begins at `open`, if all names are plain and not covered;
 * otherwise -1. The loop needs no check for the end of the frame: a frame ends in a brace, and every brace ends the
 * loop.
 */
function endOfClearArray(frame: Buffer, start: number, table: NameTable): number {
  let open = start;
  if (frame[open] === closeBracket) return open;
  for (;;) {
    if (frame[open] !== quote) return -1;
    const close = endOfClearName(frame, open + 1, table);
    if (close === -1) return -1;
    const next = frame[close + 1];
    if (next === closeBracket) return close + 1;
    if (next !== comma) return -1;
    open = close + 2;
  }
}

/** Returns the index of the quotation mark behind the name that begins at `start`; -1 if the name must be parsed. */
function endOfClearName(message: Buffer, start: number, table: NameTable): number {
  let end = start;
  while (nameCodes[message[end] as number] !== 0) end++;
  if (message[end] !== quote) return -1;
  let hash = hashStart;
  let index = end - 1;
  for (; index >= start && message[index] !== dot; index--) {
    hash = hashStep(hash, nameCodes[message[index] as number] as number);
  }
  if (index < start) return end; // a single label is never in the table
  const lastDot = index;
  if (lastDot === end - 1) return -1;
  do {
    hash = hashStep(hash, nameCodes[message[index] as number] as number);
    index--;
  } while (index >= start && message[index] !== dot);
  return mayEndIn(table, hash) && isCovered(message, start, end, lastDot, table) ? -1 : end;
}

/** Whether the table may have the name, or the rest of the name behind any of its dots except the last. */
function isCovered(message: Buffer, start: number, end: number, lastDot: number, table: NameTable): boolean {
  let hash = hashStart;
  for (let index = end - 1; index >= start; index--) {
    const byte = message[index] as number;
    if (byte === dot && index < lastDot && tableHas(table, hash)) return true;
    hash = hashStep(hash, nameCodes[byte] as number);
  }
  return tableHas(table, hash);
}
