import { dot, hashStart, hashStep, mayEndIn, type NameTable, nameCodes, tableHas } from "./name-hash.ts";

const newline = 0x0a;
const quote = 0x22;
const comma = 0x2c;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;

const typeFirst = Buffer.from('{"message_type":"certificate_update",');
const typeLast = Buffer.from(',"message_type":"certificate_update"}');
const key = Buffer.from('"all_domains"');
const arrayStart = Buffer.from(":[");
const leafStart = Buffer.from('"leaf_cert":{');

/**
 * Decides on the bytes of one message of a feed whether it is a `certificate_update` that covers no entry of the watch
 * list, so that nobody needs to parse it. False means "parse it to find out". Allocates nothing.
 *
 * True only if the message type stands at the start or at the end, as the servers write it, and every `all_domains`
 * array was walked, or the last one directly after `"leaf_cert":{` and all that follow it (certstream-server-go writes
 * the chain with its arrays before the leaf: it need not be looked at), and every name in them is plain and not covered.
 *
 * Text inside a certificate cannot bring about a skip. Servers escape quotation marks in strings, so an unescaped one
 * begins or ends a string, and one that a letter follows begins it: `,"all_domains":[` or `{"all_domains":[` is a key,
 * wherever it stands, and so is `"leaf_cert"`. Of two members of the same key the parser takes the last, as the search
 * from the end does. What a server would have to do on purpose is not defended against (a key disguised by `\u`
 * escapes, a second `leaf_cert` at another place): it could as well send nothing.
 */
export function canSkip(message: Buffer, table: NameTable): boolean {
  if (!isCertificateUpdate(message)) return false;
  let walkedAny = false;
  for (let at = lastKey(message, message.length - key.length); at > 0; at = lastKey(message, at - 1)) {
    const before = message[at - 1];
    if (before !== openBrace && before !== comma) return false;
    if (!isArrayClear(message, at + key.length, table)) return false;
    if (before === openBrace && isLeaf(message, at)) return true;
    walkedAny = true;
  }
  return walkedAny;
}

/** Whether the first or the last member says so. What does not even look like an object is the parser's to count. */
function isCertificateUpdate(message: Buffer): boolean {
  const end = message[message.length - 1] === newline ? message.length - 1 : message.length;
  if (message[0] !== openBrace || message[end - 1] !== closeBrace) return false;
  return (
    (end > typeLast.length && hasBytesAt(message, end - typeLast.length, typeLast)) ||
    (end > typeFirst.length && hasBytesAt(message, 0, typeFirst))
  );
}

/** Whether the names that begin at `at` are the first member of `leaf_cert`, and that a key, not the end of a text. */
function isLeaf(message: Buffer, at: number): boolean {
  const start = at - leafStart.length;
  const before = message[start - 1];
  return (before === openBrace || before === comma) && hasBytesAt(message, start, leafStart);
}

function hasBytesAt(message: Buffer, at: number, expected: Buffer): boolean {
  for (let offset = 0; offset < expected.length; offset++) {
    if (message[at + offset] !== expected[offset]) return false;
  }
  return true;
}

/** Where the last `"all_domains"` begins that does not begin after `from`; -1 if there is none. */
function lastKey(message: Buffer, from: number): number {
  // Of any twelve neighbouring pairs of bytes one lies in the key, if that is there: one probe each twelve bytes, none
  // of which waits for the one before, finds it. Two bytes that follow each other in the key are rare elsewhere.
  for (let at = from + key.length - 2; at >= 0; at -= probeStep) {
    const places = placesInKey[message[at] as number]! & (placesInKey[message[at + 1] as number]! >>> 1);
    if (places === 0) continue;
    const start = keyAround(message, at, places);
    if (start !== -1 && start <= from) return start;
  }
  return -1;
}

const probeStep = key.length - 1;

/** By byte: a bit for each place in the key where it stands. */
const placesInKey = new Uint16Array(256);
for (const [place, byte] of key.entries()) placesInKey[byte]! |= 1 << place;

/** Where the key begins of which the byte at `at` has one of these places; -1 if that is none. */
function keyAround(message: Buffer, at: number, places: number): number {
  for (let place = 0; place < key.length; place++) {
    if ((places >>> place) & 1 && at >= place && hasBytesAt(message, at - place, key)) return at - place;
  }
  return -1;
}

/**
 * Whether `:["name",...]` begins at `at`, with plain and uncovered names only. No bound needs checking on the way: the
 * message ends in a brace, which is no part of it.
 */
function isArrayClear(message: Buffer, at: number, table: NameTable): boolean {
  if (!hasBytesAt(message, at, arrayStart)) return false;
  let open = at + arrayStart.length;
  if (message[open] === closeBracket) return true;
  for (;;) {
    if (message[open] !== quote) return false;
    const close = endOfClearName(message, open + 1, table);
    if (close === -1) return false;
    const next = message[close + 1];
    if (next === closeBracket) return true;
    if (next !== comma) return false;
    open = close + 2;
  }
}

/** Index of the quotation mark that ends the name beginning at `start`; -1 if the name is not clear. */
function endOfClearName(message: Buffer, start: number, table: NameTable): number {
  const none = start - 1;
  let lastDot = none;
  let dotBefore = none;
  let end = start;
  for (; ; end++) {
    const byte = message[end] as number;
    if (byte === dot) {
      dotBefore = lastDot;
      lastDot = end;
    } else if (nameCodes[byte] === 0) break;
  }
  if (message[end] !== quote) return -1;
  if (lastDot === none) return end; // a single label is never in the table, nor is what begins with its dot
  if (lastDot === end - 1) return -1;
  let hash = hashStart;
  for (let index = end - 1; index > dotBefore; index--) {
    hash = hashStep(hash, nameCodes[message[index] as number] as number);
  }
  return mayEndIn(table, hash) && isCovered(message, start, end, lastDot, table) ? -1 : end;
}

/** Whether the table may have the name, or what follows one of the dots before its last. */
function isCovered(message: Buffer, start: number, end: number, lastDot: number, table: NameTable): boolean {
  let hash = hashStart;
  for (let index = end - 1; index >= start; index--) {
    const byte = message[index] as number;
    if (byte === dot && index < lastDot && tableHas(table, hash)) return true;
    hash = hashStep(hash, nameCodes[byte] as number);
  }
  return tableHas(table, hash);
}
