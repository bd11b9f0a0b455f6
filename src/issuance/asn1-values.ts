import { isUtf8 } from "node:buffer";

/** Values of ASN.1 types as certstream servers write them. Where servers differ, as certstream-server-go does. */

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
 * Octets as text, U+FFFD for each one that is no UTF-8: what Go's JSON encoder makes of any string. (`TextDecoder` writes
 * one U+FFFD for several.)
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

/** How many octets the character of UTF-8 (RFC 3629 section 4) at this place has; 0 where there is none. */
function characterLength(octets: Buffer, at: number): number {
  const first = octets[at]!;
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  // Neither overlong, nor a surrogate, nor beyond U+10FFFF.
  const least = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const greatest = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  const second = octets[at + 1] ?? 0;
  if (second < least || second > greatest) return 0;
  for (let i = 2; i < length; i++) if (((octets[at + i] ?? 0) & 0xc0) !== 0x80) return 0;
  return length;
}

/** Whether an element of this tag is a string to certificate-transparency-go (asn1/asn1.go, parseField), in pieces or not. */
export const isText = (tag: number): boolean => textTags.has(tag & ~constructedBit);

/**
 * The text of a string; `null` where its octets are none of its type. Never has a lone surrogate.
 *
 * What other servers write for the same octets: certstream-server-rust leaves out a T61String that is no UTF-8, and takes
 * the octets of any type for UTF-8, BMPString and UniversalString included; CaliDog's takes a T61String for Latin-1, and
 * writes `""` for the types that it does not know, BMPString among them.
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

/** UTF-16, the most significant octet first. Go drops one U+0000 at the end (asn1/asn1.go, parseBMPString). */
function bmpText(octets: Buffer): string {
  const text = Buffer.from(octets).swap16().toString("utf16le");
  return (text.endsWith("\0") ? text.slice(0, -1) : text).toWellFormed();
}

const utcTime = /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?(Z|[+-]\d{4})?$/;
const generalizedTime = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?(?:[.,]\d+)?(Z|[+-]\d{4})?$/;
/** Longer ones are no time. */
const maxTimeLength = 64;

/**
 * Epoch seconds of a UTCTime or GeneralizedTime; `null` where it is no time. Seconds may be missing, and an offset may stand
 * in the place of Z (X.680 sections 46 and 47), though certificates must have neither (RFC 5280 section 4.1.2.5).
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
  // Date.UTC takes years below 100 for those of the twentieth century.
  const date = new Date(0);
  date.setUTCFullYear(fullYear, month - 1, day);
  if (date.getUTCDate() !== day) return null;
  const time = date.getTime() / 1000 + hours * 3600 + minutes * 60 + seconds;
  const offset = /^([+-])(\d\d)(\d\d)$/.exec(match[7] ?? "");
  if (offset === null) return time;
  const offsetSeconds = Number(offset[2]) * 3600 + Number(offset[3]) * 60;
  return offset[1] === "+" ? time - offsetSeconds : time + offsetSeconds;
}

/** Octets beyond this are no serial number of a certificate; `message.ts` has the exact bound, in digits. */
const maxIntegerLength = 1_000;

/**
 * A serial number in the digits of certstream-server-go (`ct-parser.go`, formatSerialNumber): upper-case hex of an even
 * length, a minus sign before a negative number, and a zero before that where the length would be odd. CaliDog's writes the
 * same number without the zeros. certstream-server-rust writes the octets, which is another number where it is negative.
 *
 * @param octets the contents of an INTEGER, one octet or more (X.690 section 8.3)
 * @returns `null` for a number that is too large to be of use
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
