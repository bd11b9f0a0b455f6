import type { Found, NameIndex } from "./name-index.ts";

// The names that a match lists are stored and sent, so each list is bounded, in names and in characters. A bound never
// holds back an alert: it only decides which names the alert lists.

const maxListed = 10_000;
const maxListedChars = 256 * 1024;
/** The most entries that are listed for one wildcard, which may cover the whole watch list. */
const maxListedOfGroup = 1_000;
/** The longest SAN that is listed whole. DNS allows names of 253 characters (RFC 1035 section 3.1). */
const maxSanChars = 1_000;

/** Distinct names, and how many further names were left out. */
export interface Listing {
  names: string[];
  leftOut: number;
}

/** Lists the entries that were found. Entries that were found only through a wildcard come last. */
export function listEntries(found: Found, index: Omit<NameIndex, "add">): Listing {
  const numbers = new Set(found.entries);
  let total = numbers.size;
  for (const newest of found.groups) {
    total += index.groupSize(newest);
    let listed = 0;
    for (const number of index.group(newest)) {
      if (listed++ === maxListedOfGroup || numbers.size >= maxListed) break;
      numbers.add(number);
    }
  }
  // `total` counts an entry twice that was found both by its own name and through a wildcard.
  const isInGroup = (number: number) => found.groups.size > 0 && found.groups.has(index.groupOf(number));
  for (const number of found.entries) if (isInGroup(number)) total -= 1;
  const names = Array.from([...numbers].slice(0, maxListed), (number) => index.entry(number));
  return withinBounds(names, total);
}

/**
 * Lists the watched SANs `covered`; `entries` are the entries that cover them. If there are too many SANs, the most
 * telling are listed: SANs equal to an entry, then wildcards, then SANs with fewer labels, then shorter SANs. Of a SAN
 * with more than 1,000 characters (longer than any name in DNS), only the last 1,000 are listed.
 */
export function listSans(covered: readonly string[], entries: readonly string[]): Listing {
  const names = [...new Set(covered.map(shortened))];
  const listing = withinBounds(names, names.length);
  return listing.leftOut === 0 ? listing : withinBounds(mostTelling(names, entries), names.length);
}

function withinBounds(names: string[], total: number): Listing {
  let chars = 0;
  const end = names.findIndex((name, i) => {
    chars += name.length;
    return i === maxListed || (chars > maxListedChars && i > 0);
  });
  const listed = end === -1 ? names : names.slice(0, end);
  return { names: listed, leftOut: total - listed.length };
}

function shortened(san: string): string {
  if (san.length <= maxSanChars) return san;
  // A copy: a slice would keep the whole string in memory.
  return Buffer.from(san.slice(-maxSanChars), "utf16le").toString("utf16le");
}

function mostTelling(names: readonly string[], entries: readonly string[]): string[] {
  const isEntry = new Set(entries);
  // Each number holds a rank and the index of its name: sorting numbers takes a tenth of the time.
  const ranks = Float64Array.from(names, (name, i) => rank(name, isEntry) * names.length + i).sort();
  return Array.from(ranks.subarray(0, maxListed), (ranked) => names[ranked % names.length]!);
}

/** Returns the rank of a SAN: the smaller, the more telling. */
function rank(san: string, entries: ReadonlySet<string>): number {
  const kind = entries.has(san.toLowerCase()) ? 0 : san.startsWith("*.") ? 1 : 2;
  return (kind * 1_000 + san.split(".").length) * 1_000 + san.length;
}
