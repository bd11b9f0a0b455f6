import { isUtf8 } from "node:buffer";

/** This file writes ASN.1 values as certstream servers do. Where servers differ, it follows certstream-server-go. */

const [numericStringTag, printableStringTag, t61StringTag, ia5StringTag] = [0x12, 0x13, 0x14, 0x16];
const [utf8StringTag, bmpStringTag] = [0x0c, 0x1e];
const textTags = new Set([
  numericStringTag,
  printableStringTag,
  t61StringTag,
  ia5StringTag,
  utf8StringTag,
  bmpStringTag,
]);
const [utcTimeTag, constructedBit] = [0x17, 0x20];

/**
 * Decodes octets as UTF-8. Each octet that is not valid UTF-8 becomes one U+FFFD, as in Go's JSON encoder.
 * (`TextDecoder` writes one U+FFFD for several such octets.)
 */
export function utf8Text(octets: Buffer): string {
  if (isUtf8(octets)) return octets.toString("utf8");
  const text = Buffer.alloc(octets.length * 3);
  let length = 0;
  for (let at = 0; at < octets.length; ) {
    const valid = characterLength(octets, at);
    for (let i = 0; i < valid; i++) text[length++] = octets[at + i]!;
    if (valid === 0) {
      // U+FFFD
      text[length++] = 0xef;
      text[length++] = 0xbf;
      text[length++] = 0xbd;
    }
    at += valid || 1;
  }
  return text.toString("utf8", 0, length);
}

/** Returns the length in octets of the UTF-8 character (RFC 3629 section 4) at offset `at`; 0 if none starts there. */
function characterLength(octets: Buffer, at: number): number {
  const first = octets[at]!;
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  // These bounds exclude overlong forms, surrogates and characters beyond U+10FFFF.
  const least = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const greatest = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  const second = octets[at + 1] ?? 0;
  if (second < least || second > greatest) return 0;
  for (let i = 2; i < length; i++) if (((octets[at + i] ?? 0) & 0xc0) !== 0x80) return 0;
  return length;
}

/** Whether certificate-transparency-go (asn1/asn1.go, parseField) reads this tag as a string, in pieces or not. */
export const isText = (tag: number): boolean => textTags.has(tag & ~constructedBit);

/**
 * Returns the text of a string; `null` if its octets are not valid for its type. The text never has a lone surrogate.
 *
 * Other servers write other text for the same octets. certstream-server-rust decodes every type as UTF-8, even
 * BMPString and UniversalString, and leaves out a T61String that is not UTF-8. CaliDog's server decodes a T61String as
 * Latin-1, and writes `""` for types that it does not know, such as BMPString.
 */
export function textOf(tag: number, octets: Buffer): string | null {
  switch (tag & ~constructedBit) {
    case t61StringTag:
      return utf8Text(octets);
    case bmpStringTag:
      return octets.length % 2 === 0 ? bmpText(octets) : null;
    default:
      return isUtf8(octets) ? octets.toString("utf8") : null;
  }
}

/** Decodes big-endian UTF-16, and drops one U+0000 at the end as Go does (asn1/asn1.go, parseBMPString). */
function bmpText(octets: Buffer): string {
  const text = Buffer.from(octets).swap16().toString("utf16le");
  return (text.endsWith("\0") ? text.slice(0, -1) : text).toWellFormed();
}

const utcTime = /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?(Z|[+-]\d{4})?$/;
const generalizedTime = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?(?:[.,]\d+)?(Z|[+-]\d{4})?$/;
/** The longest UTCTime or GeneralizedTime that is read, in octets. */
const maxTimeLength = 64;

/**
 * Reads a UTCTime or GeneralizedTime. Returns epoch seconds; `null` if the octets are no valid time. The time may lack
 * seconds or have a UTC offset instead of Z (X.680 sections 46 and 47), though RFC 5280 section 4.1.2.5 forbids both.
 */
export function epochSecondsOf(tag: number, octets: Buffer): number | null {
  if (octets.length > maxTimeLength) return null;
  const isUtcTime = (tag & ~constructedBit) === utcTimeTag;
  const match = (isUtcTime ? utcTime : generalizedTime).exec(octets.toString("latin1"));
  if (match === null) return null;
  const [year, month, day, hours, minutes, seconds] = match
    .slice(1, 7)
    .map((digits: string | undefined) => Number(digits ?? 0)) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const fullYear = isUtcTime ? year + (year < 50 ? 2000 : 1900) : year;
  if (month < 1 || month > 12 || day < 1 || hours > 23 || minutes > 59 || seconds > 59) return null;
  // Not `Date.UTC`: it reads years below 100 as 19xx.
  const date = new Date(0);
  date.setUTCFullYear(fullYear, month - 1, day);
  if (date.getUTCDate() !== day) return null;
  const time = date.getTime() / 1000 + hours * 3600 + minutes * 60 + seconds;
  const offset = /^([+-])(\d\d)(\d\d)$/.exec(match[7] ?? "");
  if (offset === null) return time;
  const offsetSeconds = Number(offset[2]) * 3600 + Number(offset[3]) * 60;
  return offset[1] === "+" ? time - offsetSeconds : time + offsetSeconds;
}

/** The longest INTEGER that becomes text, in octets. `message.ts` has the exact bound for serial numbers, in digits. */
const maxIntegerLength = 1_000;

/**
 * Writes a serial number as certstream-server-go does (`ct-parser.go`, formatSerialNumber): upper-case hex, with a
 * minus sign if the number is negative. If that text has an odd length, a zero is put in front, even before a minus
 * sign. CaliDog's server leaves this zero out. certstream-server-rust writes the octets of the INTEGER, so a negative
 * number becomes another number.
 *
 * @param octets the contents of an INTEGER, one octet or more (X.690 section 8.3)
 * @returns the text; `null` if the number is too large for a serial number
 */
export function serialText(octets: Buffer): string | null {
  const isNegative = octets[0]! >= 0x80;
  const padding = isNegative ? 0xff : 0;
  let start = 0;
  while (
    start < octets.length - 1 &&
    octets[start] === padding &&
    octets[start + 1]! >= 0x80 === isNegative
  ) {
    start++;
  }
  const significant = octets.subarray(start);
  if (significant.length > maxIntegerLength) return null;
  const value = BigInt.asIntN(significant.length * 8, BigInt(`0x${significant.toString("hex")}`));
  const text = value.toString(16).toUpperCase();
  return text.length % 2 === 0 ? text : `0${text}`;
}
