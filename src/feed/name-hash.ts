import { randomBytes } from "node:crypto";

/**
 * A keyed 32-bit hash of a host name, computed from its end, so that one walk gives the hash of every suffix. The key is
 * drawn once per process: nobody outside can prepare names that collide. It lives in feed/ because the prefilter,
 * which may not look at watchlist/, has to probe what the watch list stores.
 */
export const HASH_START: number = randomBytes(4).readInt32LE();

/** `.`, the only byte at which a suffix of a name begins. */
export const DOT = 0x2e;

/**
 * The hash's code of each byte; upper case has the code of lower case. Zero: the byte is not one of
 * `a-z A-Z 0-9 _ . * -`, of which alone the hash is defined.
 */
export const NAME_CODES: Int32Array = keyedCodes();

function keyedCodes(): Int32Array {
  const codes = new Int32Array(256);
  const random = randomBytes(4 * 256);
  for (const char of "abcdefghijklmnopqrstuvwxyz0123456789_.*-") {
    const byte = char.charCodeAt(0);
    const code = random.readInt32LE(4 * byte) | 1; // never zero
    codes[byte] = code;
    codes[char.toUpperCase().charCodeAt(0)] = code;
  }
  return codes;
}

/** The hash of `c` + suffix, from the hash of the suffix and the code of `c`. The shift keeps it from being linear. */
export function hashStep(hash: number, code: number): number {
  const mixed = Math.imul(hash ^ code, 0x2c1b3c6d);
  return mixed ^ (mixed >>> 15);
}

/**
 * The watch list's names as hashes, open addressing with linear probing: every entry `e`, and `*.p` for every parent `p`
 * of an entry. A name is covered only if it, or what follows one of its dots, is in the set; every name in the set has
 * two labels or more.
 */
export interface NameTable {
  /** Hashes as `slotHash` gives them, each at or after slot `hash & mask`; 0 is an empty slot, and there is one. */
  readonly hashes: Int32Array;
  /** Number of slots (a power of two) less one. */
  readonly mask: number;
}

/** What a table stores for a hash: 0 means an empty slot there. */
export function slotHash(hash: number): number {
  return hash === 0 ? 1 : hash;
}

/** Whether the set may hold a name of this hash: never false where it does. */
export function tableHas(table: NameTable, hash: number): boolean {
  const { hashes, mask } = table;
  const wanted = slotHash(hash);
  for (let slot = wanted & mask; ; slot = (slot + 1) & mask) {
    const stored = hashes[slot];
    if (stored === wanted) return true;
    if (stored === 0) return false;
  }
}
