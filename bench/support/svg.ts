/** Of text and axes. */
export const ink = "#1a1a1a";
/** Of the grid. */
const faint = "#dddddd";

/** For text and for the values of attributes. */
export function escapeText(raw: string): string {
  const entities: Record<string, string> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
  };
  return raw.replaceAll(/[&<>"']/g, (character) => entities[character]!);
}

/** A straight line. */
export const rule = (x1: number, y1: number, x2: number, y2: number, color = faint): string =>
  `<path stroke="${color}" d="M${short(x1)},${short(y1)} L${short(x2)},${short(y2)}"/>`;

interface TextPlace {
  x: number;
  y: number;
  anchor?: "middle" | "end";
  size?: number;
  weight?: "bold";
  fill?: string;
  /** A quarter to the left, about where it is. */
  turned?: boolean;
}

export function text(place: TextPlace, content: string): string {
  const [x, y] = [short(place.x), short(place.y)];
  const attributes = {
    x,
    y,
    "text-anchor": place.anchor,
    "font-size": place.size,
    "font-weight": place.weight,
    fill: place.fill,
    transform: place.turned ? `rotate(-90 ${x} ${y})` : undefined,
  };
  const written = Object.entries(attributes).flatMap(([name, value]) =>
    value === undefined ? [] : `${name}="${value}"`,
  );
  return `<text ${written.join(" ")}>${escapeText(content)}</text>`;
}

/** A coordinate. */
export const short = (value: number): string => String(Number(value.toFixed(1)));

/** As it stands at an axis. */
export const numberText = (value: number): string =>
  value.toLocaleString("en-US", { maximumSignificantDigits: 6 });
