import { hasBytesAt, keyBytes, lastKey } from "./key-search.ts";

const comma = 0x2c;
const openBrace = 0x7b;
const leafStart = Buffer.from('"leaf_cert":{');

/**
 * Where the names of the leaf began in messages before, the most useful first; 0: none yet. The chain stands before the
 * leaf in these messages, and each intermediate's has its length, give or take what the log adds for its URL and index.
 */
const hints = new Int32Array(16);
/** So far from a hint, in both directions, they are looked for. */
const slackBytes = 48;

/**
 * Where `"all_domains"` begins as the first member of `leaf_cert`, for messages whose `leaf_cert` begins with it
 * (certstream-server-go's); -1 if it is not near a place where it was before. A hint decides only where to look.
 */
export function expectedLeafNames(message: Buffer): number {
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
export function rememberLeafNames(at: number): void {
  const free = hints.indexOf(0);
  hints[free === -1 ? hints.length - 1 : free] = at;
}

/** Whether the key that begins at `at` is the first member of `leaf_cert`, and that a key, not the end of a text. */
export function isLeafNames(message: Buffer, at: number): boolean {
  const start = at - leafStart.length;
  const before = message[start - 1];
  return (before === openBrace || before === comma) && hasBytesAt(message, start, leafStart);
}
