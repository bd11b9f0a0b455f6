import { describe, expect, test } from "vitest";
import { type Plot, plotSvg } from "../../bench/support/plot.ts";
import { scaleOf } from "../../bench/support/scale.ts";
import { escapeText } from "../../bench/support/svg.ts";

const plot: Plot = {
  title: "Cost & <entries>",
  x: { label: "entries", scale: "log" },
  y: { label: "us", scale: "linear" },
  series: [
    {
      name: 'certwatch "run"',
      points: [
        { x: 10, y: 5, low: 4, high: 6 },
        { x: 1_000_000, y: 7 },
      ],
    },
    { name: "bare", points: [{ x: 10, y: 7 }] },
  ],
};

describe("a plot", () => {
  test("has title, axes, ticks at what was measured, and a name for each line", () => {
    const svg = plotSvg(plot);
    for (const part of ["Cost &amp; &lt;entries&gt;", ">entries<", ">us<", ">1,000,000<", ">10<", ">bare<"]) {
      expect(svg).toContain(part);
    }
    expect(svg).toContain("certwatch &quot;run&quot;");
    expect(svg.match(/<circle/g)).toHaveLength(3);
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  });

  test("has a white ground of its own", () => {
    expect(plotSvg(plot)).toContain('fill="#ffffff"');
  });

  test("leaves out what a logarithmic axis has no place for", () => {
    const points = [
      { x: 0, y: 3 },
      { x: 1, y: 0 },
      { x: 10, y: 30 },
    ];
    const svg = plotSvg({ ...plot, y: { label: "us", scale: "log" }, series: [{ name: "one", points }] });
    expect(svg.match(/<circle/g)).toHaveLength(2);
    expect(svg).not.toMatch(/NaN|Infinity/);
  });

  test("names lines that end at one place one below the other", () => {
    const series = ["a", "b", "c"].map((name) => ({ name, points: [{ x: 1, y: 1 }] }));
    const heights = [...plotSvg({ ...plot, series }).matchAll(/y="([\d.]+)" fill="#\w+">[abc]</g)];
    const places = heights.map(([, y]) => Number(y)).sort((a, b) => a - b);
    expect(places).toHaveLength(3);
    expect(places[1]! - places[0]!).toBeGreaterThanOrEqual(16);
    expect(places[2]! - places[1]!).toBeGreaterThanOrEqual(16);
  });

  test("can be of nothing", () => {
    expect(plotSvg({ ...plot, series: [] })).not.toMatch(/NaN|Infinity/);
  });

  test("writes texts so that they stay texts", () => {
    expect(escapeText(`<a b="c">'&amp;`)).toBe("&lt;a b=&quot;c&quot;&gt;&#39;&amp;amp;");
  });
});

describe("an axis", () => {
  test("that is linear begins at zero and ends at a round number", () => {
    const { ticks, place } = scaleOf("linear", [3, 7.2], [100, 0]);
    expect(ticks).toEqual([0, 2, 4, 6, 8]);
    expect([place(0), place(8)]).toEqual([100, 0]);
  });

  test("that is logarithmic has decades of one size", () => {
    const { ticks, place } = scaleOf("log", [10, 1_000_000], [0, 500]);
    expect(ticks).toEqual([10, 100, 1_000, 10_000, 100_000, 1_000_000]);
    expect(ticks.map(place)).toEqual([0, 100, 200, 300, 400, 500]);
  });

  test("that is logarithmic and short is divided further", () => {
    expect(scaleOf("log", [3, 70], [0, 1]).ticks).toEqual([2, 5, 10, 20, 50, 100]);
  });

  test("that is logarithmic keeps a place for zero before the rest", () => {
    const { place } = scaleOf("log", [0, 1, 100], [0, 800]);
    expect([place(0), place(1), place(100)]).toEqual([0, 100, 800]);
  });

  test("that is logarithmic covers a single value", () => {
    const { ticks, place } = scaleOf("log", [10], [0, 1]);
    expect(ticks).toEqual([10, 20]);
    expect(place(10)).toBe(0);
  });
});
