import { randomInt } from "node:crypto";

/** Chooses the seed of the run where none is given, and prints it before and after everything else. */
export default function setup(): () => void {
  process.env.CHAOS_SEED ||= String(randomInt(2 ** 31));
  const line = `chaos: CHAOS_SEED=${process.env.CHAOS_SEED}${process.env.CHAOS_SHORT === "1" ? " CHAOS_SHORT=1" : ""}\n`;
  process.stderr.write(line);
  return () => void process.stderr.write(line);
}
