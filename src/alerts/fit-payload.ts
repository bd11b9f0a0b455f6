import type { Payload } from "./payload.ts";

/** How a size is called in metrics and in the log. */
export type SizeName = "1M" | "64k" | "8k";

/** A size that a body is cut to. */
interface BodySize {
  name: SizeName;
  maxBytes: number;
  /** The longest text in the body, as JSON; ids, hashes and reasons are shorter. */
  maxTextBytes: number;
  /** A longer name keeps its end alone. */
  maxNameBytes: number;
}

/** No name that DNS allows is longer. */
const maxDnsNameBytes = 253;
/** What is kept of a name that is too long: its end, which says whose it is. */
const keptNameBytes = 100;

/** The sizes in which an alert is offered to a receiver, each where the one before was refused. */
export const bodySizes: readonly BodySize[] = [
  { name: "1M", maxBytes: 1_048_576, maxTextBytes: 16_384, maxNameBytes: maxDnsNameBytes },
  { name: "64k", maxBytes: 64_000, maxTextBytes: 1_024, maxNameBytes: keptNameBytes },
  { name: "8k", maxBytes: 8_000, maxTextBytes: 320, maxNameBytes: keptNameBytes },
];

/** The lists of names, in the order in which they get their room: what matched is cut last. */
const nameLists = ["matched_entries", "matched_sans", "all_sans"] as const;
type Names = Record<(typeof nameLists)[number], string[]>;

/** @returns what makes JSON of the payload that is no longer than `size.maxBytes`: the whole payload where that fits. */
export function fitPayload(payload: Payload): (size: BodySize) => string {
  const whole = JSON.stringify(payload);
  const wholeBytes = Buffer.byteLength(whole);
  let ordered: OrderedNames | undefined;
  return (size) => {
    if (wholeBytes <= size.maxBytes) return whole;
    ordered ??= byImportance(payload);
    return JSON.stringify(cutPayload(payload, ordered, size));
  };
}

function cutPayload(payload: Payload, ordered: OrderedNames, size: BodySize): Payload {
  const frame = {
    ...mapTexts(payload, (text) => cutText(text, size.maxTextBytes)),
    ...({ matched_entries: [], matched_sans: [], all_sans: [] } satisfies Names),
    names_truncated: Number.MAX_SAFE_INTEGER, // as many digits as it can have
  };
  const kept = chooseNames(ordered.names, size, size.maxBytes - jsonBytes(frame));
  const shown = nameLists.map((list) => [list, kept[list].map((name) => cutName(name, size.maxNameBytes))]);
  const keptCount = new Set(nameLists.flatMap((list) => kept[list])).size;
  return {
    ...frame,
    ...(Object.fromEntries(shown) as Names),
    names_truncated: payload.names_truncated + ordered.distinctCount - keptCount,
  };
}

/** Fills `room` bytes: the first name of each list, then as many more as there is room for, list by list. */
function chooseNames(ordered: Names, { maxNameBytes }: BodySize, room: number): Names {
  const kept: Names = { matched_entries: [], matched_sans: [], all_sans: [] };
  let left = room;
  const take = (list: keyof Names, names: string[]) => {
    for (const name of names) {
      left -= jsonBytes(cutName(name, maxNameBytes)) + 1; // and a comma
      if (left < 0) return;
      kept[list].push(name);
    }
  };
  for (const list of nameLists) take(list, ordered[list].slice(0, 1));
  for (const list of nameLists) take(list, ordered[list].slice(1));
  return kept;
}

interface OrderedNames {
  names: Names;
  /** The number of different names in all lists together. */
  distinctCount: number;
}

/**
 * Orders the names so that those come first that matter and are never cut: names that are equal to a watch entry (an entry:
 * to a name), then wildcards, then those with the fewest labels, then the shortest. In `all_sans`, the names that matched
 * come before all others.
 */
function byImportance({
  matched_entries: entries,
  matched_sans: matched,
  all_sans: all,
}: Names): OrderedNames {
  const entryNames = new Set(entries.map(fold));
  const isEntry = (name: string) => entryNames.has(fold(name));
  const exactlyMatched = new Set(matched.filter(isEntry).map(fold));
  const distinct = new Set(matched);
  const names = {
    matched_entries: sorted(entries, (entry) => [!exactlyMatched.has(fold(entry))]),
    matched_sans: sorted(matched, (name) => [!isEntry(name)]),
    all_sans: sorted(all, (name) => [!distinct.has(name), !isEntry(name)]),
  };
  for (const list of [entries, all]) for (const name of list) distinct.add(name);
  return { names, distinctCount: distinct.size };
}

/** @param flagsOf what counts more than the form of a name, the most important first; false is better */
function sorted(names: string[], flagsOf: (name: string) => boolean[]): string[] {
  // Rank and place in one number: a million names, which a server may send, are sorted in a moment.
  const keys = Float64Array.from(names, (name, i) => rankOf(name, flagsOf(name)) * maxNames + i).sort();
  return Array.from(keys, (key) => names[key % maxNames]!);
}

/** No message has room for more. */
const maxNames = 2 ** 27;

function rankOf(name: string, flags: boolean[]): number {
  let rank = 0;
  for (const flag of [...flags, !name.startsWith("*.")]) rank = rank * 2 + Number(flag);
  let labels = 0;
  for (let dot = name.indexOf("."); dot >= 0; dot = name.indexOf(".", dot + 1)) labels += 1;
  return (rank * 1024 + Math.min(labels, 1023)) * 4096 + Math.min(name.length, 4095);
}

const fold = (name: string) => name.toLowerCase().replace(/\.$/, "");

function cutName(name: string, maxNameBytes: number): string {
  if (Buffer.byteLength(name) <= maxNameBytes) return name;
  const end = Buffer.from(name).subarray(-keptNameBytes);
  const firstWhole = end.findIndex((byte) => (byte & 0xc0) !== 0x80); // a byte that begins a character
  return `…${end.subarray(Math.max(firstWhole, 0)).toString("utf8")}`;
}

/** The beginning of a text, which takes no more than `maxBytes` as JSON, without its quotation marks. */
function cutText(text: string, maxBytes: number): string {
  if (text.length * 6 <= maxBytes || jsonBytes(text) - 2 <= maxBytes) return text;
  const mark = "…";
  let left = maxBytes - Buffer.byteLength(mark);
  let kept = "";
  for (const character of text) {
    left -= jsonBytes(character) - 2;
    if (left < 0) break;
    kept += character;
  }
  return kept + mark;
}

function mapTexts<T extends object>(object: T, change: (text: string) => string): T {
  const changed = Object.entries(object).map(([key, value]) => [
    key,
    typeof value === "string" ? change(value) : value,
  ]);
  return Object.fromEntries(changed) as T;
}

const jsonBytes = (value: unknown) => Buffer.byteLength(JSON.stringify(value));
