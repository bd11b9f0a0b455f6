import { DOT, HASH_START, hashStep, NAME_CODES, type NameTable, tableHas } from "./name-hash.ts";

const NEWLINE = 0x0a;
const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

const TYPE_FIRST = Buffer.from('{"message_type":"certificate_update",');
const TYPE_LAST = Buffer.from(',"message_type":"certificate_update"}');
// The key is searched for by its tail: `_` is rare in these messages, quotation marks are not.
const KEY_TAIL = Buffer.from('_domains"');
const KEY_HEAD = Buffer.from('"all');
const LEAF_KEY_HEAD = Buffer.from('"leaf_cert":{"all');

/**
 * Decides on the bytes of one message of a feed whether it is a `certificate_update` that covers no entry of the watch
 * list, so that nobody needs to parse it. False means "parse it to find out". Allocates nothing.
 *
 * True only if the message type stands at the start or at the end, as the servers write it, and every `all_domains`
 * array was walked, or the one directly after `"leaf_cert":{` and all that follow it (certstream-server-go writes the
 * chain with its arrays before the leaf), and every name in them is plain and not covered.
 *
 * Text inside a certificate cannot bring about a skip. Servers escape quotation marks in strings, so an unescaped one
 * begins or ends a string, and one that a letter follows begins it: `,"all_domains":[` or `{"all_domains":[` is a key,
 * wherever it stands, and so is `"leaf_cert"`. What a server would have to do on purpose is not defended against (a
 * key disguised by `\u` escapes, a second `leaf_cert` at another place): it could as well send nothing.
 */
export function canSkip(message: Buffer, table: NameTable): boolean {
  if (!isCertificateUpdate(message)) return false;
  let walkedAny = false;
  let unclearBefore = false;
  let at = message.indexOf(KEY_TAIL);
  for (; at !== -1; at = message.indexOf(KEY_TAIL, at + KEY_TAIL.length)) {
    if (!hasBytesBefore(message, at, KEY_HEAD)) continue; // another key's end, or a text's
    const isLeaf = isKeyBefore(message, at, LEAF_KEY_HEAD);
    if (isKeyBefore(message, at, KEY_HEAD) && isArrayClear(message, at + KEY_TAIL.length, table)) {
      walkedAny = true;
      if (isLeaf) unclearBefore = false;
    } else {
      if (isLeaf) return false;
      unclearBefore = true;
    }
  }
  return walkedAny && !unclearBefore;
}

/** Whether the first or the last member says so. What does not even look like an object is the parser's to count. */
function isCertificateUpdate(message: Buffer): boolean {
  const end = message[message.length - 1] === NEWLINE ? message.length - 1 : message.length;
  if (message[0] !== OPEN_BRACE || message[end - 1] !== CLOSE_BRACE) return false;
  return hasBytesBefore(message, end, TYPE_LAST) || hasBytesBefore(message, TYPE_FIRST.length, TYPE_FIRST);
}

function hasBytesBefore(message: Buffer, end: number, expected: Buffer): boolean {
  for (let back = 1; back <= expected.length; back++) {
    if (message[end - back] !== expected[expected.length - back]) return false;
  }
  return true;
}

/** `expected` opens with a quotation mark, which must be the beginning of a key, not an escaped one within a string. */
function isKeyBefore(message: Buffer, end: number, expected: Buffer): boolean {
  const before = message[end - expected.length - 1];
  return (before === OPEN_BRACE || before === COMMA) && hasBytesBefore(message, end, expected);
}

/**
 * Whether `:["name",...]` begins at `at`, with plain and uncovered names only. Walks backwards from the first `]`: if
 * only such names, their quotation marks and commas lie before it, then it is the end of the array and not a byte of a
 * string. No bound needs checking on the way, for `[` stops every step.
 */
function isArrayClear(message: Buffer, at: number, table: NameTable): boolean {
  if (message[at] !== COLON || message[at + 1] !== OPEN_BRACKET) return false;
  const first = at + 2;
  const end = message.indexOf(CLOSE_BRACKET, first);
  if (end === -1) return false;
  if (end === first) return true;
  let close = end - 1;
  while (message[close] === QUOTE) {
    const open = startOfClearName(message, close, table);
    if (open === first) return true;
    if (open === -1 || message[open - 1] !== COMMA) return false;
    close = open - 2;
  }
  return false;
}

/** Index of the quotation mark that opens the name which the one at `close` ends; -1 if the name is not clear. */
function startOfClearName(message: Buffer, close: number, table: NameTable): number {
  let index = close - 1;
  if (message[index] === DOT) return -1;
  let hash = HASH_START;
  let hasDot = false;
  for (;;) {
    const byte = message[index] as number;
    const code = NAME_CODES[byte] as number;
    if (code === 0) break;
    if (byte === DOT) {
      if (hasDot && tableHas(table, hash)) return -1;
      hasDot = true; // what follows the last dot alone is never in the table
    }
    hash = hashStep(hash, code);
    index--;
  }
  return message[index] === QUOTE && !tableHas(table, hash) ? index : -1;
}
