import { randomBytes } from "node:crypto";

/**
 * The hash of an empty suffix, from which the hash of a host name is computed. The watch list and the prefilter share
 * the hash. It has 32 bits, and starts at the end of a name, so that one walk gives the hash of every suffix. Its key
 * is random in every process, so that nobody outside can prepare names that collide.
 */
export const hashStart: number = randomBytes(4).readInt32LE();

export const dot = 0x2e;
const asterisk = 0x2a;

/**
 * The code in the hash for each byte. Upper case has the code of lower case. Zero means that the hash is not defined
 * for the byte: the byte is none of `a-z A-Z 0-9 _ . * -`.
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

/** Returns the code of a UTF-16 unit, as in `nameCodes`; 0 beyond ASCII. */
export function codeOf(char: number): number {
  return char < 0x80 ? nameCodes[char]! : 0;
}

/**
 * Returns the hash of a suffix with one character more in front. `hash` is that of the shorter suffix, `code` belongs
 * to the new character. The shift keeps the hash from being linear.
 */
export function hashStep(hash: number, code: number): number {
  const mixed = Math.imul(hash ^ code, 0x2c1b3c6d);
  return mixed ^ (mixed >>> 15);
}

/** Returns the hash of the suffix of `name` that begins at `start`; `hash` is that of the suffix at `end`. */
export function hashBack(hash: number, name: string, start: number, end: number): number {
  let result = hash;
  for (let i = end - 1; i >= start; i--) result = hashStep(result, codeOf(name.charCodeAt(i)));
  return result;
}

/** Returns the hash of `*.p` for the hash of `p`. */
export function wildcardHash(parentHash: number): number {
  return hashStep(hashStep(parentHash, nameCodes[dot]!), nameCodes[asterisk]!);
}

/**
 * A set of names as hashes: every entry of the watch list, and `*.p` for the parent `p` of every entry (the text after
 * its first dot). A name can only be covered if the set has the name, or the text after one of the dots in the name.
 * Every name in the set has two labels or more.
 */
export interface NameTable extends HashTable {
  /**
   * For every name in the set, the bit for the hash of its last two labels is set. The bits fit into the processor's
   * cache even if the table does not. For nearly every name of the feed, one of these bits excludes the name.
   */
  readonly endBits: Uint32Array;
  /** By how many bits to shift a hash right to get the number of its bit in `endBits`. */
  readonly endShift: number;
}

/** A hash table with open addressing and linear probing. */
interface HashTable {
  /** Results of `slotHash`, each in slot `hash & mask` or the next free slot. 0 is an empty slot; one always exists. */
  readonly hashes: Int32Array;
  /** The number of slots (a power of two) minus one. */
  readonly mask: number;
}

/** Returns the number that the table stores for a hash. A hash of 0 is stored as 1, because 0 is an empty slot. */
export function slotHash(hash: number): number {
  return hash === 0 ? 1 : hash;
}

/** Whether the set may hold a name with this hash. False is certain; true may be a collision. */
export function tableHas(table: HashTable, hash: number): boolean {
  const { hashes, mask } = table;
  const wanted = slotHash(hash);
  for (let slot = wanted & mask; ; slot = (slot + 1) & mask) {
    const stored = hashes[slot];
    if (stored === wanted) return true;
    if (stored === 0) return false;
  }
}

/** Whether a name in the set may end in the two labels with this hash. False is certain; true may be a collision. */
export function mayEndIn({ endBits, endShift }: NameTable, hash: number): boolean {
  const bit = hash >>> endShift;
  return ((endBits[bit >>> 5]! >>> (bit & 31)) & 1) !== 0;
}

/** Notes that a name in the set ends in the two labels with this hash. */
export function addEnd({ endBits, endShift }: NameTable, hash: number): void {
  const bit = hash >>> endShift;
  endBits[bit >>> 5]! |= 1 << (bit & 31);
}

const bitsPerName = 16;

/** Creates an empty table with room for this many names. */
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
