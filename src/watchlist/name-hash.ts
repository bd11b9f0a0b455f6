import { randomBytes } from "node:crypto";

/**
 * A keyed 32-bit hash of a host name, computed from its end, so that one walk gives the hash of every suffix. The key is
 * drawn once per process: nobody outside can prepare names that collide. It lives in feed/ because the prefilter,
 * which may not look at watchlist/, has to probe what the watch list stores.
 */
export const hashStart: number = randomBytes(4).readInt32LE();

/** `.`, the only byte at which a suffix of a name begins. */
export const dot = 0x2e;

/**
 * The hash's code of each byte; upper case has the code of lower case. Zero: the byte is not one of
 * `a-z A-Z 0-9 _ . * -`, of which alone the hash is defined.
 */
export const nameCodes: Int32Array = keyedCodes();

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
 * The watch list's names as hashes: every entry `e`, and `*.p` for every parent `p` of an entry. A name is covered only
 * if it, or what follows one of its dots, is in the set; every name in the set has two labels or more.
 */
export interface NameTable extends HashTable {
  /**
   * One bit for the last two labels of every name in the set, at the bit that `endBit` gives: small enough to stay in
   * the processor's cache where the table is not, and nearly every name of the feed ends here.
   */
  readonly endBits: Uint32Array;
  /** `endBit` shifts hashes by so much. */
  readonly endShift: number;
}

/** Open addressing with linear probing. */
interface HashTable {
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
export function tableHas(table: HashTable, hash: number): boolean {
  const { hashes, mask } = table;
  const wanted = slotHash(hash);
  for (let slot = wanted & mask; ; slot = (slot + 1) & mask) {
    const stored = hashes[slot];
    if (stored === wanted) return true;
    if (stored === 0) return false;
  }
}

/** Whether a name in the set may end in the two labels of this hash: never false where one does. */
export function mayEndIn({ endBits, endShift }: NameTable, hash: number): boolean {
  const bit = hash >>> endShift;
  return ((endBits[bit >>> 5]! >>> (bit & 31)) & 1) !== 0;
}

/** Enters the last two labels of a name of the set. */
export function addEnd({ endBits, endShift }: NameTable, hash: number): void {
  const bit = hash >>> endShift;
  endBits[bit >>> 5]! |= 1 << (bit & 31);
}

const bitsPerName = 16;

/** An empty table for so many names. */
export function createNameTable(names: number): NameTable {
  const slots = 2 ** Math.ceil(Math.log2(1.5 * names + 1));
  const endBitsLog2 = Math.min(Math.max(Math.ceil(Math.log2(bitsPerName * names + 1)), 10), 32);
  return {
    hashes: new Int32Array(slots),
    mask: slots - 1,
    endBits: new Uint32Array(2 ** (endBitsLog2 - 5)),
    endShift: 32 - endBitsLog2,
  };
}
