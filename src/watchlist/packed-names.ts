import { dot } from "./name-hash.ts";

const upperA = 0x41;
const upperZ = 0x5a;
const toLower = 0x20;
const bytesPerNameGuess = 24;

/**
 * ASCII names in one Buffer, one after the other. The number of a name is how many names were added before it. As
 * separate strings, a million names would be a million objects for the garbage collector.
 */
export class PackedNames {
  #size = 0;
  /** For each name: the offset in `#bytes` where the name ends and the next name begins. */
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
   * Whether the name with this number is `text.slice(start, end)`; with `isParent`, whether the text after its first
   * dot is. The names are in lower case; `text` may have upper case, too.
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
