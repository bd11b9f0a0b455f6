import { basename } from "node:path";
import { fileURLToPath } from "node:url";

/** One figure, and what it is held against. */
export interface Result {
  benchmark: string;
  name: string;
  value: number;
  unit: string;
  /** `null`: a figure for orientation, held against nothing. */
  bar: { atLeast: number } | { atMost: number } | null;
  /** Spread, and what else one has to know to read the figure. */
  detail: string;
}

export type Reporter = (result: Omit<Result, "benchmark">) => void;

export function isMissed({ value, bar }: Result): boolean {
  if (bar === null) return false;
  return "atLeast" in bar ? !(value >= bar.atLeast) : !(value <= bar.atMost);
}

/** One line: the result beside its bar. */
export function lineOf(result: Result): string {
  const { benchmark, name, value, unit, bar, detail } = result;
  const limit = bar === null ? "" : "atLeast" in bar ? `>= ${bar.atLeast}` : `<= ${bar.atMost}`;
  const verdict = bar === null ? "" : isMissed(result) ? "MISSED" : "met";
  const figure = `${rounded(value)} ${unit}`.trim();
  return `${benchmark.padEnd(8)} ${name.padEnd(46)} ${figure.padStart(18)}  ${limit.padEnd(10)} ${verdict.padEnd(6)} ${detail}`;
}

const rounded = (value: number): string =>
  Math.abs(value) >= 100 ? Math.round(value).toLocaleString("en-US") : String(Number(value.toPrecision(3)));

/**
 * Runs a benchmark when its file is the program that was started: prints its results as they come, as lines or, with
 * `--json`, as JSON lines. Progress goes to standard error.
 */
export async function runIfMain(moduleUrl: string, body: (report: Reporter) => Promise<void>): Promise<void> {
  const file = fileURLToPath(moduleUrl);
  if (process.argv[1] === undefined || fileURLToPath(new URL(`file://${process.argv[1]}`)) !== file) return;
  const asJson = process.argv.includes("--json");
  const benchmark = basename(file, ".js");
  await body((result) => {
    const whole = { benchmark, ...result };
    console.log(asJson ? JSON.stringify(whole) : lineOf(whole));
  });
}

export const progress = (text: string): void => {
  process.stderr.write(`${text}\n`);
};
