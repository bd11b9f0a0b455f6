import {
  addEnd,
  codeOf,
  createNameTable,
  dot,
  hashBack,
  hashStart,
  hashStep,
  mayEndIn,
  type NameTable,
  slotHash,
  wildcardHash,
} from "./name-hash.ts";
import { PackedNames } from "./packed-names.ts";

const asterisk = 0x2a;
const none = -1;

/** The numbers of the entries that were found to cover some names. */
export class Found {
  readonly entries = new Set<number>();
  /**
   * The groups that wildcards in the names cover. A wildcard covers the whole group of entries one label below its
   * parent. The number of the newest entry stands for the group, so that a large group costs no more than a small one.
   */
  readonly groups = new Set<number>();
}

/**
 * The entries of a watch list in typed arrays. The number of an entry is how many entries were added before it. `table`
 * holds the hash of each entry. For the parent `p` of an entry, `table` also holds the hash of `*.p`, which leads to
 * the group of entries one label below `p`.
 *
 * `buildWatchList` owns the index and adds the entries. Once a `WatchList` has the index, no entry is added.
 */
export class NameIndex {
  readonly table: NameTable;
  readonly #names: PackedNames;
  /** The most labels that an entry has. */
  #maxLabels = 0;
  /** For each slot of the table: the number of its entry; for a group, the complement (`~`) of its newest number. */
  readonly #owners: Int32Array;
  /** For each entry: the number of the next older entry in its group, or `none`. */
  readonly #siblings: Int32Array;
  /** For each entry: how many older entries its group has. */
  readonly #olderSiblings: Uint32Array;

  /** @param capacity the most entries that will be added. */
  constructor(capacity: number) {
    this.table = createNameTable(2 * capacity); // an entry adds two names at most: itself and `*.` with its parent
    this.#names = new PackedNames(capacity);
    this.#owners = new Int32Array(this.table.hashes.length);
    this.#siblings = new Int32Array(capacity);
    this.#olderSiblings = new Uint32Array(capacity);
  }

  /** The number of distinct entries. */
  get size(): number {
    return this.#names.size;
  }

  /** Adds an entry that `parseWatchEntry` returned. Adding the same entry again changes nothing. */
  add(entry: string): void {
    const end = entry.length;
    const parentStart = entry.indexOf(".") + 1;
    const parentHash = hashBack(hashStart, entry, parentStart, end);
    const hash = hashBack(parentHash, entry, 0, parentStart);
    const slot = this.#slotOf(hash, entry, 0, end, false);
    if (this.table.hashes[slot] !== 0) return;
    const number = this.#names.add(entry);
    this.#fill(slot, hash, number);
    this.#noteEnd(entry);

    const groupHash = wildcardHash(parentHash);
    const groupSlot = this.#slotOf(groupHash, entry, parentStart, end, true);
    const sibling = this.table.hashes[groupSlot] === 0 ? none : ~this.#owners[groupSlot]!;
    this.#siblings[number] = sibling;
    this.#olderSiblings[number] = sibling === none ? 0 : this.#olderSiblings[sibling]! + 1;
    this.#fill(groupSlot, groupHash, ~number);
    const hasTwoLabels = parentStart === entry.lastIndexOf(".") + 1;
    if (hasTwoLabels) addEnd(this.table, groupHash); // then the wildcard has two labels, too: `*.org`
  }

  /**
   * Adds to `found` the entries and groups that cover host names in a SAN (see `namesIn`). `withALabels` must have
   * converted the SAN. Takes time linear in the length of the SAN, whatever its text and the number of entries.
   *
   * @returns whether an entry covers one of the names.
   */
  findCovering(san: string, found: Found): boolean {
    let isCovered = false;
    for (let end = san.length; end > 0; ) {
      const last = san.charCodeAt(end - 1);
      if (last === dot || codeOf(last) === 0) {
        end--;
        continue;
      }
      const start = startOfName(san, end);
      if (this.#findForName(san, start, end, found)) isCovered = true;
      end = start;
    }
    return isCovered;
  }

  /** Returns the entry with this number. */
  entry(number: number): string {
    return this.#names.get(number);
  }

  /** Returns how many entries there are in the group whose newest entry has this number. */
  groupSize(newest: number): number {
    return this.#olderSiblings[newest]! + 1;
  }

  /** Yields the numbers of all entries in the group whose newest entry has this number, newest first. */
  *group(newest: number): Generator<number, void> {
    for (let number = newest; number !== none; number = this.#siblings[number]!) yield number;
  }

  /**
   * Returns the number that stands for the group of an entry: the entries one label below the same parent. It is the
   * number of the newest of them.
   */
  groupOf(number: number): number {
    const entry = this.entry(number);
    const parentStart = entry.indexOf(".") + 1;
    const hash = wildcardHash(hashBack(hashStart, entry, parentStart, entry.length));
    return ~this.#owners[this.#slotOf(hash, entry, parentStart, entry.length, true)]!;
  }

  /** Looks up the name `san.slice(start, end)`, the text after each of its dots and, for a wildcard, its group. */
  #findForName(san: string, start: number, end: number, found: Found): boolean {
    let isCovered = false;
    let hash = hashStart;
    let labels = 1;
    for (let i = end - 1; i >= start; i--) {
      const char = san.charCodeAt(i);
      if (char === dot) {
        if (labels === 2 && !mayEndIn(this.table, hash)) return false;
        if (labels > 1 && this.#findEntry(hash, san, i + 1, end, found)) isCovered = true;
        if (++labels > this.#maxLabels) return isCovered; // no entry has so many labels
      }
      hash = hashStep(hash, codeOf(char));
    }
    if (this.#findEntry(hash, san, start, end, found)) isCovered = true;
    const isWildcard = san.charCodeAt(start) === asterisk && san.charCodeAt(start + 1) === dot;
    return (isWildcard && this.#findGroup(hash, san, start + 2, end, found)) || isCovered;
  }

  #findEntry(hash: number, san: string, start: number, end: number, found: Found): boolean {
    const slot = this.#slotOf(hash, san, start, end, false);
    if (this.table.hashes[slot] === 0) return false;
    found.entries.add(this.#owners[slot]!);
    return true;
  }

  #findGroup(hash: number, san: string, parentStart: number, end: number, found: Found): boolean {
    const slot = this.#slotOf(hash, san, parentStart, end, true);
    if (this.table.hashes[slot] === 0) return false;
    found.groups.add(~this.#owners[slot]!);
    return true;
  }

  /**
   * Returns the slot of the entry `text.slice(start, end)`, or with `isGroup` the slot of the group below this parent.
   * `hash` is the hash of the entry, or of `*.` with the parent. If the table lacks the entry or group, returns the
   * empty slot where it belongs.
   */
  #slotOf(hash: number, text: string, start: number, end: number, isGroup: boolean): number {
    const { hashes, mask } = this.table;
    const wanted = slotHash(hash);
    for (let slot = wanted & mask; ; slot = (slot + 1) & mask) {
      if (hashes[slot] === 0) return slot;
      if (hashes[slot] !== wanted) continue;
      const owner = this.#owners[slot]!;
      if (owner < 0 !== isGroup) continue;
      if (this.#names.isSpelt(isGroup ? ~owner : owner, isGroup, text, start, end)) return slot;
    }
  }

  #fill(slot: number, hash: number, owner: number): void {
    this.table.hashes[slot] = slotHash(hash);
    this.#owners[slot] = owner;
  }

  /** Notes the last two labels of an entry, and how many labels the entry has. */
  #noteEnd(entry: string): void {
    let labels = 1;
    for (let at = entry.lastIndexOf("."); at !== -1; at = entry.lastIndexOf(".", at - 1)) {
      labels++;
      if (labels === 3) addEnd(this.table, hashBack(hashStart, entry, at + 1, entry.length));
    }
    if (labels === 2) addEnd(this.table, hashBack(hashStart, entry, 0, entry.length));
    this.#maxLabels = Math.max(this.#maxLabels, labels);
  }
}

/** Returns the offset where the run of host-name characters begins that ends before `end`. */
function startOfName(san: string, end: number): number {
  let start = end - 1;
  while (start > 0 && codeOf(san.charCodeAt(start - 1)) !== 0) start--;
  return start;
}
