import type { Plot } from "../support/plot.ts";
import type { Reporter } from "../support/report.ts";
import { median, quantile } from "../support/statistics.ts";

/** One thing that grows, and what it costs. */
export interface Curve {
  /** What it is called on the command line. */
  name: string;
  measure(report: Reporter): Promise<Measured>;
}

/** A section of docs/performance/growth.md. */
export interface Measured {
  heading: string;
  /** How it was measured, and what one has to know to read it. Markdown. */
  text: string;
  columns: string[];
  rows: string[][];
  /** `file` is the name in docs/performance/. */
  plots: { file: string; plot: Plot }[];
}

/**
 * `SCALE=0.01` is for trying a benchmark out: a hundredth of the messages, a hundredth of the largest size. The figures
 * are worth nothing then.
 */
export const scale = Number(process.env.SCALE ?? 1);

/** The sizes, those left out that are too large at this scale. */
export const upTo = (sizes: number[]): number[] =>
  sizes.filter((size, i) => i === 0 || size <= scale * sizes.at(-1)!);

/** So many at this scale, in whole units of at least one. */
export const scaled = (count: number, unit: number): number =>
  Math.max(Math.round((scale * count) / unit), 1) * unit;

/** A point of a plot: the median, and the range of the middle half. */
export const pointOf = (x: number, values: number[]) => ({
  x,
  y: median(values),
  low: quantile(values, 0.25),
  high: quantile(values, 0.75),
});

/** `12,345`, or three digits of what is small. */
export const figure = (value: number): string =>
  Math.abs(value) >= 100 ? Math.round(value).toLocaleString("en-US") : String(Number(value.toPrecision(3)));
