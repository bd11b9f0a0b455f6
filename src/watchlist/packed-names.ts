import { dot } from "./name-hash.ts";

const upperA = 0x41;
const upperZ = 0x5a;
const toLower = 0x20;
const bytesPerNameGuess = 24;

/**
 * Names of ASCII characters one behind the other in one Buffer, each with a number: how many were added before it. A million
 * strings would be a million objects for the garbage collector.
 */
export class PackedNames {
  #size = 0;
  /** By name: where it ends in `#bytes`. It begins where the one before ends. */
  readonly #ends: Uint32Array;
  #bytes: Buffer;

  /** @param capacity the most names that will be added. */
  constructor(capacity: number) {
    this.#ends = new Uint32Array(capacity);
    this.#bytes = Buffer.allocUnsafeSlow(bytesPerNameGuess * capacity);
  }

  get size(): number {
    return this.#size;
  }

  /** @returns the number of the name. */
  add(name: string): number {
    const start = this.#startOf(this.#size);
    const end = start + name.length;
    if (end > this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(2 * end);
      this.#bytes.copy(larger, 0, 0, start);
      this.#bytes = larger;
    }
    this.#bytes.write(name, start, "latin1");
    this.#ends[this.#size] = end;
    return this.#size++;
  }

  get(number: number): string {
    return this.#bytes.toString("latin1", this.#startOf(number), this.#ends[number]);
  }

  /**
   * Whether the name, or with `isParent` what follows its first dot, is `text.slice(start, end)`. The names are in lower
   * case; the text may be in any.
   */
  isSpelt(number: number, isParent: boolean, text: string, start: number, end: number): boolean {
    const nameStart = this.#startOf(number);
    const first = isParent ? this.#bytes.indexOf(dot, nameStart) + 1 : nameStart;
    const length = this.#ends[number]! - first;
    if (length !== end - start) return false;
    for (let i = 0; i < length; i++) {
      const char = text.charCodeAt(start + i);
      const lower = char >= upperA && char <= upperZ ? char | toLower : char;
      if (this.#bytes[first + i] !== lower) return false;
    }
    return true;
  }

  #startOf(number: number): number {
    return number === 0 ? 0 : this.#ends[number - 1]!;
  }
}
