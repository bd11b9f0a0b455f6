/** Places values along an axis. */
export interface Scale {
  /** The distinct values, in order. */
  values: number[];
  /** Round numbers that cover the values, in order. */
  ticks: number[];
  /** In the coordinates of the picture. */
  place(value: number): number;
}

/** A linear axis begins at zero; the zero of a logarithmic one, where there is one, has a place before the rest. */
export function scaleOf(
  kind: "linear" | "log",
  values: number[],
  [from, to]: [from: number, to: number],
): Scale {
  const distinct = [...new Set(values)].sort((a, b) => a - b);
  if (kind === "linear") {
    const ticks = linearTicks(Math.max(...distinct, 0));
    const end = ticks.at(-1)!;
    return { values: distinct, ticks, place: (value) => from + ((to - from) * value) / end };
  }
  const positive = distinct.filter((value) => value > 0);
  const ticks = logTicks(positive[0] ?? 1, positive.at(-1) ?? 10);
  const [low, high] = [Math.log10(ticks[0]!), Math.log10(ticks.at(-1)!)];
  const start = distinct[0] === 0 ? from + (to - from) / 8 : from;
  return {
    values: distinct,
    ticks,
    place: (value) => (value <= 0 ? from : start + ((to - start) * (Math.log10(value) - low)) / (high - low)),
  };
}

/** From 0 on, up to `max` or just above it, in steps of 1, 2 or 5 times a power of ten. */
function linearTicks(max: number): number[] {
  if (max <= 0) return [0, 1];
  const power = 10 ** Math.floor(Math.log10(max / 5));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => max / size <= 6)!;
  return Array.from({ length: Math.ceil(max / step - 1e-9) + 1 }, (_, i) =>
    Number((i * step).toPrecision(12)),
  );
}

/** From at most `min` to at least `max`: powers of ten, where these are few, two and five times these too. */
function logTicks(min: number, max: number): number[] {
  const decades = Math.ceil(Math.log10(max)) - Math.floor(Math.log10(min));
  const factors = decades > 3 ? [1] : [1, 2, 5];
  const all: number[] = [];
  for (let power = Math.floor(Math.log10(min)); power <= Math.ceil(Math.log10(max)); power++) {
    for (const factor of factors) all.push(Number((factor * 10 ** power).toPrecision(12)));
  }
  const first = all.findLastIndex((tick) => tick <= min * (1 + 1e-9));
  const last = all.findIndex((tick) => tick >= max * (1 - 1e-9));
  return all.slice(first, Math.max(last, first + 1) + 1);
}
