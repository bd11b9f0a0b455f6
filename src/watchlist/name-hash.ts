import { randomBytes } from "node:crypto";

/**
 * The hash of host names that the watch list and the prefilter share: 32 bits, and keyed. It is computed from the end of a
 * name, so that one walk gives the hash of every suffix. The key is drawn once per process, so that nobody outside can
 * prepare names that collide.
 */
export const hashStart: number = randomBytes(4).readInt32LE();

export const dot = 0x2e;
const asterisk = 0x2a;

/**
 * By byte: its code in the hash. Upper case has the code of lower case. Zero means that the byte is none of
 * `a-z A-Z 0-9 _ . * -`, the only ones that the hash is defined for.
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

/** The code of a UTF-16 unit, as `nameCodes` gives it for a byte. */
export function codeOf(char: number): number {
  return char < 0x80 ? nameCodes[char]! : 0;
}

/**
 * The hash of a suffix that begins one character earlier, from the hash of the suffix and the code of that character. The
 * shift keeps the hash from being linear.
 */
export function hashStep(hash: number, code: number): number {
  const mixed = Math.imul(hash ^ code, 0x2c1b3c6d);
  return mixed ^ (mixed >>> 15);
}

/** The hash of the suffix at `start`, from the hash of the suffix at `end`. */
export function hashBack(hash: number, name: string, start: number, end: number): number {
  let result = hash;
  for (let i = end - 1; i >= start; i--) result = hashStep(result, codeOf(name.charCodeAt(i)));
  return result;
}

/** The hash of `*.p` from the hash of `p`. */
export function wildcardHash(parentHash: number): number {
  return hashStep(hashStep(parentHash, nameCodes[dot]!), nameCodes[asterisk]!);
}

/**
 * The watch list's names as hashes: every entry `e`, and `*.p` for every parent `p` of an entry. A name can only be covered
 * if the set has the name or what follows one of its dots. Every name in the set has two labels or more.
 */
export interface NameTable extends HashTable {
  /**
   * For every name in the set, the bit of its last two labels' hash is set. The bits fit into the processor's cache where
   * the table does not, and for nearly every name of the feed nothing else has to be read.
   */
  readonly endBits: Uint32Array;
  /** A hash, shifted right by so much, is the number of its bit. */
  readonly endShift: number;
}

/** Open addressing with linear probing. */
interface HashTable {
  /** What `slotHash` gives, in slot `hash & mask` or in the next free one after it. 0 is an empty slot; there is one. */
  readonly hashes: Int32Array;
  /** Number of slots (a power of two) less one. */
  readonly mask: number;
}

/** What the table stores for a hash. A hash of 0 is stored as 1, because 0 is an empty slot. */
export function slotHash(hash: number): number {
  return hash === 0 ? 1 : hash;
}

/** Whether the set may hold a name of this hash. False is certain; true may be a collision. */
export function tableHas(table: HashTable, hash: number): boolean {
  const { hashes, mask } = table;
  const wanted = slotHash(hash);
  for (let slot = wanted & mask; ; slot = (slot + 1) & mask) {
    const stored = hashes[slot];
    if (stored === wanted) return true;
    if (stored === 0) return false;
  }
}

/** Whether a name in the set may end in the two labels of this hash. False is certain. */
export function mayEndIn({ endBits, endShift }: NameTable, hash: number): boolean {
  const bit = hash >>> endShift;
  return ((endBits[bit >>> 5]! >>> (bit & 31)) & 1) !== 0;
}

/** Notes that a name in the set ends in the two labels of this hash. */
export function addEnd({ endBits, endShift }: NameTable, hash: number): void {
  const bit = hash >>> endShift;
  endBits[bit >>> 5]! |= 1 << (bit & 31);
}

const bitsPerName = 16;

/** An empty table with room for so many names. */
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
