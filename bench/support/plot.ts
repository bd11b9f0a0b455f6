import { type Scale, scaleOf } from "./scale.ts";
import { escapeText, ink, numberText, rule, short, text } from "./svg.ts";

/** A line plot. */
export interface Plot {
  title: string;
  x: Axis;
  y: Axis;
  series: Series[];
}

export interface Axis {
  /** With its unit. */
  label: string;
  /** `log`: values that span decades. A zero has a place of its own before them on the x axis, and none on the y axis. */
  scale: "linear" | "log";
}

export interface Series {
  name: string;
  points: Point[];
}

/** With `low` and `high`, the range of the middle half is drawn too. */
export interface Point {
  x: number;
  y: number;
  low?: number;
  high?: number;
}

const [width, height] = [800, 440];
const area = { left: 90, right: 620, top: 56, bottom: 372 };
/** Okabe and Ito's, those that are dark enough for lines: told apart by whoever sees colours differently, too. */
const colors = ["#0072b2", "#d55e00", "#009e73", "#aa3377", "#555555"];
const lineHeight = 16;

/**
 * Draws it as an SVG document that is readable on any page: dark on a white ground of its own. Each line is named at its
 * end; ticks of the x axis are the values that were measured.
 */
export function plotSvg(plot: Plot): string {
  const points = plot.series.flatMap((series) => series.points).filter((point) => isDrawn(point, plot.y));
  const x = scaleOf(
    plot.x.scale,
    points.map((point) => point.x),
    [area.left + 12, area.right - 12],
  );
  const y = scaleOf(
    plot.y.scale,
    points.flatMap((point) => [point.low ?? point.y, point.y, point.high ?? point.y]),
    [area.bottom, area.top],
  );
  const lines = plot.series.map((series, i) => lineOf(series, plot, x, y, colors[i % colors.length]!));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" font-family="system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="13" fill="${ink}">`,
    `<title>${escapeText(plot.title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    text({ x: area.left, y: 30, size: 16, weight: "bold" }, plot.title),
    ...axes(plot, x, y),
    ...lines,
    ...names(plot, y),
    "</svg>\n",
  ].join("\n");
}

const isDrawn = (point: Point, axis: Axis): boolean =>
  Number.isFinite(point.x) && Number.isFinite(point.y) && (axis.scale === "linear" || point.y > 0);

function axes(plot: Plot, x: Scale, y: Scale): string[] {
  const middle = { x: (area.left + area.right) / 2, y: (area.top + area.bottom) / 2 };
  return [
    ...y.ticks.flatMap((value) => [
      rule(area.left, y.place(value), area.right, y.place(value)),
      text({ x: area.left - 8, y: y.place(value) + 4, anchor: "end" }, numberText(value)),
    ]),
    ...x.values.flatMap((value) => [
      rule(x.place(value), area.top, x.place(value), area.bottom),
      text({ x: x.place(value), y: area.bottom + 20, anchor: "middle" }, numberText(value)),
    ]),
    rule(area.left, area.bottom, area.right, area.bottom, ink),
    rule(area.left, area.top, area.left, area.bottom, ink),
    text({ x: middle.x, y: area.bottom + 48, anchor: "middle" }, plot.x.label),
    text({ x: 20, y: middle.y, anchor: "middle", turned: true }, plot.y.label),
  ];
}

function lineOf(series: Series, plot: Plot, x: Scale, y: Scale, color: string): string {
  const points = series.points.filter((point) => isDrawn(point, plot.y));
  // A zero on a logarithmic axis is not at any distance from the rest: no line leads there.
  const joined = points.filter((point) => plot.x.scale === "linear" || point.x > 0);
  const at = ({ x: valueX, y: valueY }: Point) => `${short(x.place(valueX))},${short(y.place(valueY))}`;
  const marks = points.map((point) => {
    const [cx, cy] = [short(x.place(point.x)), short(y.place(point.y))];
    return `<circle cx="${cx}" cy="${cy}" r="4"/>`;
  });
  const ranges = points.flatMap(({ x: value, y: middle, low, high }) =>
    low === undefined || high === undefined || (plot.y.scale === "log" && low <= 0)
      ? []
      : `<path d="M${short(x.place(value))},${short(y.place(Math.min(low, middle)))} V${short(y.place(high))}"/>`,
  );
  return `<g stroke="${color}" fill="${color}" stroke-width="2"><polyline fill="none" points="${joined.map(at).join(" ")}"/>${marks.join("")}${ranges.join("")}</g>`;
}

/** Beside the end of each line, and not on top of each other. */
function names(plot: Plot, y: Scale): string[] {
  const labels = plot.series.flatMap((series, i) => {
    const last = series.points.filter((point) => isDrawn(point, plot.y)).at(-1);
    return last === undefined ? [] : { series, color: colors[i % colors.length]!, at: y.place(last.y) + 4 };
  });
  labels.sort((a, b) => a.at - b.at);
  for (const [i, label] of labels.entries()) {
    if (i > 0) label.at = Math.max(label.at, labels[i - 1]!.at + lineHeight);
  }
  for (let i = labels.length - 1, limit = area.bottom; i >= 0; i--, limit -= lineHeight) {
    labels[i]!.at = Math.min(labels[i]!.at, limit);
  }
  return labels.map(({ series, color, at }) => text({ x: area.right + 8, y: at, fill: color }, series.name));
}
