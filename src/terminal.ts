/** Characters that must not reach a terminal: control, format (bidi), surrogates, private use, line separators. */
const unprintable = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu;

/** Escapes the characters of a text from certificates, servers or file names that a terminal would act on. */
export function printable(text: string): string {
  return text.replace(unprintable, (character) => escaped(character));
}

/** Returns a line of JSON that no terminal acts on. JSON itself leaves C1 controls and bidi marks as they are. */
export function jsonLine(value: unknown): string {
  return JSON.stringify(value).replace(unprintable, (character) => escaped(character));
}

/**
 * Returns a character as a JSON escape such as `\u001b`; a character beyond U+FFFF as two escapes.
 *
 * @param backslash the text to use as the backslash, if the result is unescaped once more before somebody reads it.
 */
export function escaped(character: string, backslash = "\\"): string {
  return Array.from({ length: character.length }, (_, i) => {
    return `${backslash}u${character.charCodeAt(i).toString(16).padStart(4, "0")}`;
  }).join("");
}

export interface Column {
  title: string;
  /** The longest cell, in characters, that a terminal shows whole. (The last column gets the rest of the line.) */
  maxWidth?: number;
}

const gap = "  ";
const minLastWidth = 20;

/**
 * Formats a table: a line of titles, then a line for each row. Cells are made {@link printable}.
 *
 * @param lineWidth the width of the terminal in characters. With Infinity, no cell is cut.
 */
export function formatTable(
  columns: Column[],
  rows: string[][],
  lineWidth = process.stdout.isTTY ? process.stdout.columns : Number.POSITIVE_INFINITY,
): string {
  const table = [columns.map(({ title }) => title), ...rows.map((row) => row.map(printable))];
  const widths = columns.map(({ maxWidth = Number.POSITIVE_INFINITY }, i) => {
    const longest = table.reduce((max, row) => Math.max(max, length(row[i]!)), 0);
    return Number.isFinite(lineWidth) ? Math.min(longest, maxWidth) : longest;
  });
  const last = columns.length - 1;
  const before = widths.slice(0, last).reduce((sum, width) => sum + width + gap.length, 0);
  widths[last] = Math.max(lineWidth - before, minLastWidth);
  const line = (row: string[]) =>
    row.map((cell, i) => pad(cut(cell, widths[i]!), i === last ? 0 : widths[i]!));
  return table.map((row) => line(row).join(gap).trimEnd()).join("\n");
}

function cut(text: string, width: number): string {
  return length(text) <= width ? text : `${[...text].slice(0, width - 1).join("")}…`;
}

function pad(text: string, width: number): string {
  return text + " ".repeat(Math.max(0, width - length(text)));
}

/** Counts code points. A wide or combining character counts as one, and misaligns only its own line. */
function length(text: string): number {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

/** Formats epoch seconds as `2026-01-31 12:00` in UTC. Returns the number itself if no calendar has such a time. */
export function formatTime(epochSeconds: number): string {
  const date = new Date(epochSeconds * 1000);
  return Number.isNaN(date.getTime())
    ? String(epochSeconds)
    : date.toISOString().slice(0, -8).replace("T", " ");
}

/** Returns a count with its noun: `1 certificate`, `2 certificates`. */
export function counted(count: number, singular: string, plural = `${singular}s`): string {
  return `${count} ${count === 1 ? singular : plural}`;
}
