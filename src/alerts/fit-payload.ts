import type { Payload, RecordedPayload } from "./payload.ts";

/** The name of a size in metrics and in the log. */
export type SizeName = "1M" | "64k" | "8k";

/** A size to which a body is cut. */
interface BodySize {
  name: SizeName;
  maxBytes: number;
  /** The longest text in the body, as JSON; ids, hashes and reasons are always shorter. */
  maxTextBytes: number;
  /** The longest name in the body. A longer name is cut to its end. */
  maxNameBytes: number;
}

/** The longest name that DNS allows. */
const maxDnsNameBytes = 253;
/** How much is kept of a name that is too long: its end, which shows the name's owner. */
const keptNameBytes = 100;

/** The sizes in which an alert is offered to a receiver. A size is used if the receiver refused the size before it. */
export const bodySizes: readonly BodySize[] = [
  { name: "1M", maxBytes: 1_048_576, maxTextBytes: 16_384, maxNameBytes: maxDnsNameBytes },
  { name: "64k", maxBytes: 64_000, maxTextBytes: 1_024, maxNameBytes: keptNameBytes },
  { name: "8k", maxBytes: 8_000, maxTextBytes: 320, maxNameBytes: keptNameBytes },
];

/** The lists of names, in the order in which they are filled: the names that matched are cut last. */
const nameLists = ["matched_entries", "matched_sans", "all_sans"] as const;
type Names = Record<(typeof nameLists)[number], string[]>;
type NamedPayload = Names & Pick<Payload, "names_truncated">;

/** How much the verdict adds to a recorded payload at most, bytes as JSON. */
const maxVerdictBytes = 4_096;

/**
 * Cuts a payload before it is recorded, so that the whole webhook body fits into the largest size. So an event is never
 * larger than a body when it is read back. The fields that only the verdict needs are not cut.
 */
export function fitRecordedPayload<T extends NamedPayload & Partial<RecordedPayload>>(payload: T): T {
  const { subject_cn, is_cn_watched, is_cn_appended, ...sent } = payload;
  const size = { ...bodySizes[0]!, maxBytes: bodySizes[0]!.maxBytes - maxVerdictBytes };
  if (namesLength(sent) <= size.maxBytes && jsonBytes(sent) <= size.maxBytes) return payload;
  return { ...payload, ...cutPayload(sent, byImportance(sent), size) };
}

/** The characters of all names: JSON never has fewer bytes, and is not made for a payload that cannot fit. */
function namesLength(names: Names): number {
  let length = 0;
  for (const list of nameLists) for (const name of names[list]) length += name.length;
  return length;
}

/** Returns a function that makes JSON of at most `size.maxBytes` bytes. It cuts the payload only if it does not fit. */
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

function cutPayload<T extends NamedPayload>(payload: T, ordered: OrderedNames, size: BodySize): T {
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

/** Chooses names that fit into `room` bytes: the first of each list, then as many more as fit, list by list. */
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
  /** The number of different names in the three lists together. */
  distinctCount: number;
}

/**
 * Orders each list so that the most important names come first, because the end of a list is cut: names that are equal
 * to a watch entry (and entries that are equal to a name), then wildcards, then names with the fewest labels, then the
 * shortest names. In `all_sans`, the names that matched come before all others.
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

/** @param flagsOf returns flags that count more than a name's form, the most important flag first; false sorts first */
function sorted(names: string[], flagsOf: (name: string) => boolean[]): string[] {
  // Each key is one number that holds rank and place, so that even a million names, which a server may send, are sorted
  // in a moment.
  const keys = Float64Array.from(names, (name, i) => rankOf(name, flagsOf(name)) * maxNames + i).sort();
  return Array.from(keys, (key) => names[key % maxNames]!);
}

/** A number of names for which no message has room. */
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

/** Returns as much of the beginning of a text as takes `maxBytes` in JSON, not counting the quotation marks. */
function cutText(text: string, maxBytes: number): string {
  if (text.length * 6 <= maxBytes || jsonBytes(text) - 2 <= maxBytes) return text;
  const mark = "…";
  let left = maxBytes - Buffer.byteLength(mark);
  const kept: string[] = [];
  for (const character of text) {
    left -= jsonBytes(character) - 2;
    if (left < 0) break;
    kept.push(character);
  }
  // A text of its own: neither thousands of pieces nor a piece that keeps the whole in memory.
  return [...kept, mark].join("");
}

function mapTexts<T extends object>(object: T, change: (text: string) => string): T {
  const changed = Object.entries(object).map(([key, value]) => [
    key,
    typeof value === "string" ? change(value) : value,
  ]);
  return Object.fromEntries(changed) as T;
}

const jsonBytes = (value: unknown) => Buffer.byteLength(JSON.stringify(value));
