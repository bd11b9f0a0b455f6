import {
  dot,
  hashStart,
  hashStep,
  mayEndIn,
  type NameTable,
  nameCodes,
  tableHas,
} from "../watchlist/name-hash.ts";
import { hasBytesAt, keyBytes, lastKey } from "./key-search.ts";

const newline = 0x0a;
const quote = 0x22;
const comma = 0x2c;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;

const typeFirst = Buffer.from('{"message_type":"certificate_update",');
const typeLast = Buffer.from(',"message_type":"certificate_update"}');
const arrayStart = Buffer.from(":[");
const leafStart = Buffer.from('"leaf_cert":{');

/** How many places at which the leaf's names began are remembered. */
const hintCount = 16;
/** How far to search before and behind a remembered place, bytes. */
const slackBytes = 48;

/**
 * Looks at the bytes of messages to find the messages that nobody needs to parse. Certstream servers put the chain
 * before the leaf, so all messages of one intermediate have the leaf's names at about the same place. The prefilter
 * remembers such places. They only decide where it looks first.
 */
export class Prefilter {
  /**
   * The places where the leaf's names began in earlier messages, the most useful first; 0: none yet. Within the
   * messages of one intermediate, the place moves by the length of the log's URL and of the index.
   */
  readonly #hints = new Int32Array(hintCount);

  /**
   * Returns true if the bytes show that the message is a `certificate_update` without a watched name, so that nobody
   * needs to parse it. False means "parse the message to find out". Allocates nothing.
   *
   * True needs all of this: the message type stands at the start or at the end, as the servers write it; the prefilter
   * walked the `all_domains` array directly after `"leaf_cert":{` (certstream-server-go's order: chain and extensions
   * need no look), or else every `all_domains` array; and every name in the walked arrays is plain and not covered.
   *
   * Text inside a certificate cannot cause a skip. Servers escape quotation marks in strings, so an unescaped quotation
   * mark begins or ends a string, and if a letter follows, it begins one: `,"all_domains":[` or `{"all_domains":[` is a
   * key, wherever it stands, and so is `"leaf_cert"`. There is no defence against a server that hides a name on purpose
   * (a key written with `\u` escapes, a second `leaf_cert`, a second `all_domains` in it): it could also send nothing.
   */
  canSkip(message: Buffer, table: NameTable): boolean {
    const end = message[message.length - 1] === newline ? message.length - 1 : message.length;
    // A message that does not look like an object goes to the parser, which counts it as refused.
    if (message[0] !== openBrace || message[end - 1] !== closeBrace) return false;
    if (end > typeLast.length && hasBytesAt(message, end - typeLast.length, typeLast)) {
      const leafNames = this.#expectedLeafNames(message);
      if (leafNames !== -1) return isArrayClear(message, leafNames + keyBytes, table);
    } else if (end <= typeFirst.length || !hasBytesAt(message, 0, typeFirst)) {
      return false;
    }
    return this.#areArraysClear(message, table);
  }

  /**
   * Returns where `"all_domains"` begins as the first member of `leaf_cert` (certstream-server-go's order); -1 if it is
   * not there, or not near a place where it was in earlier messages.
   */
  #expectedLeafNames(message: Buffer): number {
    const hints = this.#hints;
    const last = message.length - keyBytes;
    for (let i = 0; i < hints.length; i++) {
      const hint = hints[i]!;
      if (hint === 0) return -1;
      const at = lastKey(message, Math.min(hint + slackBytes, last), hint - slackBytes);
      if (at === -1 || !isLeafNames(message, at)) continue;
      if (i > 0) {
        hints[i] = hints[i - 1]!;
        hints[i - 1] = hint;
      }
      return at;
    }
    return -1;
  }

  /** Remembers the place `at`, where the leaf's names were found without a hint. It replaces the least useful hint. */
  #rememberLeafNames(at: number): void {
    const free = this.#hints.indexOf(0);
    this.#hints[free === -1 ? hintCount - 1 : free] = at;
  }

  /** Walks the `all_domains` arrays from the last to the first, or to the first that is certainly the leaf's. */
  #areArraysClear(message: Buffer, table: NameTable): boolean {
    let walkedAny = false;
    for (let at = lastKey(message, message.length - keyBytes, 0); at > 0; at = lastKey(message, at - 1, 0)) {
      const before = message[at - 1];
      if (before !== openBrace && before !== comma) return false;
      const isLeaf = isLeafNames(message, at);
      if (isLeaf) this.#rememberLeafNames(at);
      if (!isArrayClear(message, at + keyBytes, table)) return false;
      if (isLeaf) return true;
      walkedAny = true;
    }
    return walkedAny;
  }
}

/** Whether the key at `at` is the first member of `leaf_cert`, and `"leaf_cert"` is a key, not the end of a text. */
function isLeafNames(message: Buffer, at: number): boolean {
  const start = at - leafStart.length;
  const before = message[start - 1];
  return (before === openBrace || before === comma) && hasBytesAt(message, start, leafStart);
}

/**
 * Whether `:["name",...]` begins at `at`, with plain and uncovered names only. The loop needs no check for the end of
 * the message: the message ends in a brace, and every brace ends the loop.
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
