import {
  addEnd,
  createNameTable,
  dot,
  hashStart,
  hashStep,
  type NameTable,
  nameCodes,
  slotHash,
} from "./name-hash.ts";

const asterisk = 0x2a;
const bytesPerEntryGuess = 24;
const none = -1;

/**
 * The entries of a watch list in typed arrays: a million of them are no million objects for the garbage collector.
 * An entry is known by its number, in order of insertion. `table` holds the hash of each entry, and for its parent `p`
 * that of `*.p`, which leads to all entries exactly one label below `p`.
 *
 * Owned by the build while it grows; nothing is added once a `WatchList` has it.
 */
export class NameIndex {
  readonly table: NameTable;
  #size = 0;
  /** Per slot of the table: an entry's number, or for a parent the complement (`~`) of the last added entry below it. */
  readonly #owners: Int32Array;
  /** Per entry: the one added before it below the same parent, or `none`. */
  readonly #siblings: Int32Array;
  /** Per entry: where its bytes end; they begin where those of the one before end. */
  readonly #ends: Uint32Array;
  #bytes: Buffer;

  /** `capacity`: no more entries than this are going to be added. */
  constructor(capacity: number) {
    this.table = createNameTable(2 * capacity); // two names per entry at most
    this.#owners = new Int32Array(this.table.hashes.length);
    this.#siblings = new Int32Array(capacity);
    this.#ends = new Uint32Array(capacity);
    this.#bytes = Buffer.allocUnsafeSlow(bytesPerEntryGuess * capacity);
  }

  /** Number of distinct entries. */
  get size(): number {
    return this.#size;
  }

  /** Adds an entry as `parseWatchEntry` gives it, unless it is there. */
  add(entry: string): void {
    const parentStart = entry.indexOf(".") + 1;
    const parentHash = hashBack(hashStart, entry, parentStart, entry.length);
    const hash = hashBack(parentHash, entry, 0, parentStart);
    const slot = this.#slotOf(hash, entry, 0, false);
    if (this.table.hashes[slot] !== 0) return;
    const number = this.#append(entry);
    this.#fill(slot, hash, number);
    addEnd(this.table, endHash(entry));

    const groupHash = wildcardHash(parentHash);
    const groupSlot = this.#slotOf(groupHash, entry, parentStart, true);
    const isNewGroup = this.table.hashes[groupSlot] === 0;
    if (isNewGroup && !hasTwoLabels(entry, parentStart)) addEnd(this.table, groupHash);
    this.#siblings[number] = isNewGroup ? none : ~this.#owners[groupSlot]!;
    this.#fill(groupSlot, groupHash, ~number);
  }

  /**
   * Adds to `found` the numbers of the entries that cover `name`, one of the forms that `sanForms` gives. Costs
   * O(labels), plus what it finds.
   */
  findCovering(name: string, found: Set<number>): void {
    const start = name.startsWith("*.") ? 2 : 0;
    let hash = hashStart;
    for (let i = name.length - 1; i >= start; i--) {
      const char = name.charCodeAt(i);
      const code = nameCodes[char];
      if (!code) return; // no entry has such a character
      if (char === dot) this.#findEntry(hash, name, i + 1, found);
      hash = hashStep(hash, code);
    }
    this.#findEntry(hash, name, start, found);
    if (start > 0) this.#findBelow(hash, name, start, found);
  }

  /** The entry of this number. */
  entry(number: number): string {
    return this.#bytes.toString("latin1", this.#startOf(number), this.#ends[number]);
  }

  #findEntry(hash: number, name: string, from: number, found: Set<number>): void {
    const slot = this.#slotOf(hash, name, from, false);
    if (this.table.hashes[slot] !== 0) found.add(this.#owners[slot]!);
  }

  #findBelow(parentHash: number, name: string, from: number, found: Set<number>): void {
    const slot = this.#slotOf(wildcardHash(parentHash), name, from, true);
    if (this.table.hashes[slot] === 0) return;
    for (let number = ~this.#owners[slot]!; number !== none; number = this.#siblings[number]!)
      found.add(number);
  }

  /** The slot of the entry, or of the parent, spelt `name.slice(from)`; where there is none, the empty slot to fill. */
  #slotOf(hash: number, name: string, from: number, isParent: boolean): number {
    const { hashes, mask } = this.table;
    const wanted = slotHash(hash);
    for (let slot = wanted & mask; ; slot = (slot + 1) & mask) {
      if (hashes[slot] === 0) return slot;
      if (hashes[slot] !== wanted) continue;
      const owner = this.#owners[slot]!;
      if (owner < 0 === isParent && this.#isSpelt(owner, name, from)) return slot;
    }
  }

  #isSpelt(owner: number, name: string, from: number): boolean {
    const number = owner < 0 ? ~owner : owner;
    const start = owner < 0 ? this.#bytes.indexOf(dot, this.#startOf(number)) + 1 : this.#startOf(number);
    const length = this.#ends[number]! - start;
    if (length !== name.length - from) return false;
    for (let i = 0; i < length; i++) {
      if (this.#bytes[start + i] !== name.charCodeAt(from + i)) return false;
    }
    return true;
  }

  #startOf(number: number): number {
    return number === 0 ? 0 : this.#ends[number - 1]!;
  }

  #fill(slot: number, hash: number, owner: number): void {
    this.table.hashes[slot] = slotHash(hash);
    this.#owners[slot] = owner;
  }

  #append(entry: string): number {
    const start = this.#startOf(this.#size);
    const end = start + entry.length;
    if (end > this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(2 * end);
      this.#bytes.copy(larger, 0, 0, start);
      this.#bytes = larger;
    }
    this.#bytes.write(entry, start, "latin1");
    this.#ends[this.#size] = end;
    return this.#size++;
  }
}

function hashBack(hash: number, name: string, from: number, to: number): number {
  let result = hash;
  for (let i = to - 1; i >= from; i--) result = hashStep(result, nameCodes[name.charCodeAt(i)]!);
  return result;
}

/** The hash of the last two labels. */
function endHash(entry: string): number {
  const start = entry.lastIndexOf(".", entry.lastIndexOf(".") - 1) + 1;
  return hashBack(hashStart, entry, start, entry.length);
}

/** Whether there are two labels or more from `from` on. */
function hasTwoLabels(entry: string, from: number): boolean {
  return entry.indexOf(".", from) !== -1;
}

/** The hash of `*.p` from that of `p`. */
function wildcardHash(parentHash: number): number {
  return hashStep(hashStep(parentHash, nameCodes[dot]!), nameCodes[asterisk]!);
}
