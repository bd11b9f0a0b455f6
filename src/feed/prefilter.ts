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

/** How many places of the leaf's names are remembered. */
const hintCount = 16;
/** How far from a remembered place to look, in both directions, bytes. */
const slackBytes = 48;

/**
 * Looks at the bytes of messages to find those that nobody needs to parse. Certstream servers put the chain before the
 * leaf, and each intermediate's messages have the leaf's names at about the same place, so it remembers such places: they
 * decide only where to look first.
 */
export class Prefilter {
  /**
   * Where the leaf's names began in earlier messages, the most useful first; 0: none yet. The place differs by what the
   * log adds for its URL and index.
   */
  readonly #hints = new Int32Array(hintCount);

  /**
   * Decides on the bytes of one message of a feed whether it is a `certificate_update` that covers no entry of the watch
   * list, so that nobody needs to parse it. False means "parse it to find out". Allocates nothing.
   *
   * True only if the message type stands at the start or at the end, as the servers write it, and the `all_domains` array
   * directly after `"leaf_cert":{` was walked (certstream-server-go's order: chain and extensions need not be looked at),
   * or every `all_domains` array, and every name in what was walked is plain and not covered.
   *
   * Text inside a certificate cannot bring about a skip. Servers escape quotation marks in strings, so an unescaped one
   * begins or ends a string, and one that a letter follows begins it: `,"all_domains":[` or `{"all_domains":[` is a key,
   * wherever it stands, and so is `"leaf_cert"`. What a server would have to do on purpose is not defended against (a key
   * disguised by `\u` escapes, a second `leaf_cert`, a second `all_domains` in it): it could as well send nothing.
   */
  canSkip(message: Buffer, table: NameTable): boolean {
    const end = message[message.length - 1] === newline ? message.length - 1 : message.length;
    // What does not even look like an object is the parser's to count.
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
   * Where `"all_domains"` begins as the first member of `leaf_cert`, for messages whose `leaf_cert` begins with it
   * (certstream-server-go's); -1 if it is not near a place where it was before.
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

  /** Remembers where the leaf's names were found without a hint, in place of the least useful one. */
  #rememberLeafNames(at: number): void {
    const free = this.#hints.indexOf(0);
    this.#hints[free === -1 ? hintCount - 1 : free] = at;
  }

  /** Walks the arrays from the last to the first, or to one that is the leaf's for certain. */
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

/** Whether the key that begins at `at` is the first member of `leaf_cert`, and that a key, not the end of a text. */
function isLeafNames(message: Buffer, at: number): boolean {
  const start = at - leafStart.length;
  const before = message[start - 1];
  return (before === openBrace || before === comma) && hasBytesAt(message, start, leafStart);
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
