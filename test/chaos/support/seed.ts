import { createHash } from "node:crypto";

/** True in the short form: every kind of damage, but fewer times and for less long. */
export const isShort = process.env.CHAOS_SHORT === "1";

/** The number for the short form, or that for the long one. */
export const shortOrLong = (short: number, long: number): number => (isShort ? short : long);

/** Random choices that CHAOS_SEED repeats. */
export interface Random {
  /** From 0 up to, not including, 1. */
  next(): number;
  /** A whole number, both ends included. */
  int(min: number, max: number): number;
  chance(probability: number): boolean;
  pick<T>(from: readonly T[]): T;
}

/** @param name of the test: each has choices of its own, so that one test alone can be repeated. */
export function randomOf(name: string): Random {
  const digest = createHash("sha256").update(`${process.env.CHAOS_SEED}:${name}`).digest();
  let state = digest.readUInt32LE(0);
  // Marsaglia's xorshift32 ("Xorshift RNGs", 2003): never 0 unless it begins with 0.
  if (state === 0) state = 1;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  const int = (min: number, max: number) => min + Math.floor(next() * (max - min + 1));
  return {
    next,
    int,
    chance: (probability) => next() < probability,
    pick: (from) => from[int(0, from.length - 1)]!,
  };
}
