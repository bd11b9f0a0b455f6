import { isIP } from "node:net";
import { domainToASCII } from "node:url";

const PLAIN = /^[\w.*-]*$/; // \w without flags is ASCII
const NON_ASCII = /[\u0080-\uffff]/;
/** The other full stops of IDNA (UTS #46, section 2.3, and RFC 3490, section 3.1). */
const IDNA_DOTS = /[\u3002\uff0e\uff61]/g;
const IDNA_INPUT = /^[\w*\u0080-\uffff-]+$/;
const SCHEME = /^https?:\/\//i;
// biome-ignore lint/suspicious/noControlCharactersInRegex: NUL and NEL are what is searched for
const NAME_ENDS = /[\u0000\s/\u0085]/;

/** Punycode takes time quadratic in the label. A name that DNS can hold has 253 characters (RFC 1035, section 3.1). */
const MAX_CONVERTED_CHARS = 512;

/** A usable watch-list entry (lower case, A-labels, made of `a-z 0-9 _ - .` only), or what is wrong with it. */
export type WatchEntry = { readonly entry: string } | { readonly problem: string };

/**
 * Reads one row of the watch list: trims, lower-cases, strips trailing dots and one leading `*.`, converts to A-labels.
 * The problem is a phrase that goes on from the entry's name: `is an IP address`.
 */
export function parseWatchEntry(raw: string): WatchEntry {
  const name = normalize(raw);
  const entry = name.startsWith("*.") ? name.slice(2) : name;
  const problem = problemOf(entry);
  return problem === null ? { entry } : { problem };
}

function problemOf(entry: string): string | null {
  if (entry === "") return "is empty";
  if (isIP(entry.replace(/^\[|\]$/g, "")) !== 0) return "is an IP address";
  if (entry.includes("*")) return "has a * inside";
  if (NON_ASCII.test(entry)) return "has a label that IDNA refuses";
  if (!PLAIN.test(entry)) return "has a character other than letters, digits, hyphen, underscore and dot";
  if (entry.startsWith(".") || entry.includes("..")) return "has an empty label";
  if (!entry.includes(".")) return "has only one label";
  return null;
}

/**
 * The forms under which a SAN is matched, each lower-cased, in A-labels, without trailing dots; a leading `*.` is a
 * wildcard. A plain host name has one. Any other name is tried as it is, without `http://` or `https://`, and cut at
 * the first NUL, `/` or white space: where a validator somewhere may read a watched name, certwatch alerts.
 * Never throws, and takes time linear in the length.
 */
export function sanForms(san: string): string[] {
  const name = san.trim();
  if (PLAIN.test(name)) return [normalize(name)];
  const bare = name.replace(SCHEME, "");
  return [...new Set([name, bare, cut(name), cut(bare.trim())].map(normalize))];
}

function cut(name: string): string {
  const end = name.search(NAME_ENDS);
  return end === -1 ? name : name.slice(0, end);
}

function normalize(raw: string): string {
  const name = toAscii(raw.trim());
  let end = name.length;
  while (name[end - 1] === ".") end--;
  return name.slice(0, end);
}

/**
 * Lower case and A-labels, label by label. A label that IDNA refuses stays as it is, lower-cased, and so does what lies
 * so far from the end that no entry reaches there.
 */
function toAscii(name: string): string {
  if (!NON_ASCII.test(name)) return name.toLowerCase();
  const dotted = name.replace(IDNA_DOTS, ".");
  const tailStart = Math.max(0, dotted.length - MAX_CONVERTED_CHARS);
  const labels = dotted.slice(tailStart).split(".");
  return dotted.slice(0, tailStart).toLowerCase() + labels.map(labelToAscii).join(".");
}

/**
 * Upper-case letters beyond ASCII are left to IDNA, whose mapping is not `toLowerCase` (a final sigma).
 * `domainToASCII` is a URL parser: it drops what follows a `/`, and reads a name that ends in a number as an IP address
 * (WHATWG URL, "ends in a number checker"). Hence the check of its input, and the label behind.
 */
function labelToAscii(label: string): string {
  if (!NON_ASCII.test(label) || !IDNA_INPUT.test(label)) return label.toLowerCase();
  return domainToASCII(`${label}.x`).slice(0, -2) || label.toLowerCase();
}
