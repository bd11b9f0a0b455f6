/**
 * Chance that can be repeated: the same seed gives the same numbers on every machine (sfc32, by Chris Doty-Humphrey,
 * public domain; PractRand's fastest small generator that passes).
 */
export class Random {
  readonly #state: Uint32Array;

  constructor(seed: number) {
    this.#state = Uint32Array.of(seed, seed ^ 0x9e3779b9, 0x243f6a88, 1);
    for (let i = 0; i < 15; i++) this.next();
  }

  /** From 0 to 2^32 - 1. */
  next(): number {
    const state = this.#state;
    const [a, b, c, count] = [state[0]!, state[1]!, state[2]!, state[3]!];
    const result = (a + b + count) >>> 0;
    state[0] = b ^ (b >>> 9);
    state[1] = c + (c << 3);
    state[2] = ((c << 21) | (c >>> 11)) + result;
    state[3] = count + 1;
    return result;
  }

  /** From 0 to `limit - 1`. */
  below(limit: number): number {
    return this.next() % limit;
  }

  oneIn(count: number): boolean {
    return this.below(count) === 0;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }

  /** Up to `most` items. */
  some<T>(items: readonly T[], most: number): T[] {
    return Array.from({ length: this.below(most + 1) }, () => this.pick(items));
  }
}

/** `FUZZ_SEED`, or one that nobody has chosen. Print it: the run can be repeated with it. */
export const seed: number = Number(process.env.FUZZ_SEED || Math.floor(Math.random() * 2 ** 31));

/** How many runs: `FUZZ_RUNS`, times the share of a test that is slower than others; small where nobody asked for more. */
export function runs(byDefault: number, share = 1): number {
  const asked = Number(process.env.FUZZ_RUNS || 0);
  return asked === 0 ? byDefault : Math.max(Math.ceil(asked * share), 1);
}

/** For a test's own limit: what a busy machine takes for so many runs. */
export const patienceMs = (count: number, runsPerSecond: number): number =>
  60_000 + (count / runsPerSecond) * 1_000 * 4;
