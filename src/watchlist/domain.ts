import { isIP } from "node:net";
import { domainToASCII } from "node:url";

/** Matches text that has only characters of host names, and `*` and `_`, which names in certificates also have. */
const plainName = /^[\w.*-]*$/; // \w without flags is ASCII
const beyondAscii = /[\u0080-\uffff]/;
/** The three full stops that IDNA reads like `.` (UTS #46 section 2.3, RFC 3490 section 3.1). */
const otherDots = /[\u3002\uff0e\uff61]/g;
/** White space beyond ASCII. U+FEFF is missing because IDNA drops it from a name. */
const otherSpaces = /[\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/g;
/** Matches a label, or several labels with characters beyond ASCII between them that no host name has. */
const labels = /[\w*\u0080-\uffff-]+/g;
const notInNames = /[^\w.*-]+/;

/** The longest label in DNS (RFC 1035 section 2.3.4). Converting a label takes time quadratic in its length. */
const maxLabelChars = 63;
/** The longest name to convert. DNS allows 253 characters (RFC 1035 section 3.1). A SAN may list several names. */
const maxUnicodeNameChars = 2_000;
/** The cost of converting a label, in characters of the budget: it takes about 2 us, like reading 30 characters. */
const conversionChars = 30;
/** The budget of one certificate. 2,000 Unicode names use a third of it. Using all of it takes about 50 ms. */
const conversionCharsPerMessage = 500_000;

/** A usable watch-list entry (lower case, A-labels, made of `a-z 0-9 _ - .` only), or the problem with the row. */
export type WatchEntry = { readonly entry: string } | { readonly problem: string };

/**
 * How many more characters of Unicode names may be converted to A-labels. When none are left, Unicode names stay as
 * they are. No honest certificate uses up its budget.
 */
export interface ConversionBudget {
  chars: number;
}

/** A budget for all the names of one certificate. */
export const conversionBudget = (): ConversionBudget => ({ chars: conversionCharsPerMessage });

/**
 * Reads one row of the watch list: trims it, converts it to lower case and A-labels, and strips trailing dots and one
 * leading `*.`. A problem is a phrase that can follow the row: `is an IP address`.
 */
export function parseWatchEntry(raw: string): WatchEntry {
  const name = normalName(raw);
  const entry = name.startsWith("*.") ? name.slice(2) : name;
  const problem = problemOf(entry);
  return problem === null ? { entry } : { problem };
}

function problemOf(entry: string): string | null {
  if (entry === "") return "is empty";
  if (isIP(entry.replace(/^\[|\]$/g, "")) !== 0) return "is an IP address";
  if (entry.includes("*")) return "has a * inside";
  if (beyondAscii.test(entry)) return "has a label that IDNA refuses";
  if (!plainName.test(entry)) return "has a character other than letters, digits, hyphen, underscore and dot";
  if (entry.startsWith(".") || entry.includes("..")) return "has an empty label";
  if (!entry.includes(".")) return "has only one label";
  return null;
}

/**
 * Returns a name in the form in which names are compared: trimmed, in lower case and A-labels, without trailing dots.
 * Never throws.
 */
export function normalName(raw: string, budget: ConversionBudget = conversionBudget()): string {
  const name = withALabels(raw.trim(), budget).toLowerCase();
  let end = name.length;
  while (name[end - 1] === ".") end--;
  return name.slice(0, end);
}

/**
 * Returns the host names that a SAN contains, normalized. A plain host name contains itself. In any other text, every
 * run of characters of host names counts as a name: some program may read a watched name there, so certwatch alerts.
 * `https://me@example.org:443/x` contains `https`, `me`, `example.org`, `443` and `x`.
 *
 * `NameIndex.findCovering` looks up the same names without making strings of them.
 */
export function namesIn(san: string): string[] {
  const pieces = withALabels(san, conversionBudget()).split(notInNames);
  return [...new Set(pieces.map((piece) => normalName(piece)))].filter((name) => name !== "");
}

/**
 * Returns the name with its Unicode labels converted to A-labels. A label stays as it is if IDNA refuses it, if it is
 * too long for DNS, or if the budget is used up. Takes time linear in the length of the name.
 */
export function withALabels(name: string, budget: ConversionBudget): string {
  if (!beyondAscii.test(name) || name.length > maxUnicodeNameChars || budget.chars <= 0) return name;
  budget.chars -= name.length;
  const dotted = name.replace(otherDots, ".").replace(otherSpaces, " ");
  return dotted.replace(labels, (label) => aLabel(label, budget));
}

/**
 * Converts one label. `domainToASCII` is a URL parser. It reads a name that ends in a number as an IP address (WHATWG
 * URL, "ends in a number checker"), so another label is appended here. `domainToASCII` also maps letters to lower case;
 * beyond ASCII, `toLowerCase` maps some letters differently (a final sigma). `domainToASCII` also converts labels that
 * IDNA refuses: U+3200 maps to `(ᄀ)`, and no host name has a parenthesis (UTS #46 section 4, UseSTD3ASCIIRules).
 */
function aLabel(label: string, budget: ConversionBudget): string {
  if (label.length > maxLabelChars || !beyondAscii.test(label) || budget.chars <= 0) return label;
  budget.chars -= conversionChars;
  const converted = domainToASCII(`${label}.x`).slice(0, -2);
  return converted !== "" && plainName.test(converted) ? converted : label;
}
