/**
 * A small DER writer (ITU-T X.690) for the types that certificates need. Every exported function returns one complete
 * element: tag, length, contents.
 */

/** Writes an element with any tag. Several `contents` are joined. */
export function der(tagByte: number, ...contents: Uint8Array[]): Buffer {
  const body = Buffer.concat(contents);
  return Buffer.concat([Buffer.from([tagByte]), derLength(body.length), body]);
}

/** Writes a definite length in the fewest octets (X.690 section 10.1). */
function derLength(length: number): Buffer {
  if (length < 0x80) return Buffer.from([length]);
  const octets = unsignedBytes(length);
  return Buffer.concat([Buffer.from([0x80 | octets.length]), octets]);
}

/** Writes a number as big-endian octets without leading zero octets. The number 0 becomes one zero octet. */
function unsignedBytes(value: number): Buffer {
  const hex = value.toString(16);
  return Buffer.from(hex.padStart(hex.length + (hex.length % 2), "0"), "hex");
}

export const sequence = (...elements: Uint8Array[]): Buffer => der(0x30, ...elements);
export const set = (...elements: Uint8Array[]): Buffer => der(0x31, ...elements);
export const octetString = (contents: Uint8Array): Buffer => der(0x04, contents);
export const utf8String = (text: string): Buffer => der(0x0c, Buffer.from(text, "utf8"));
export const printableString = (text: string): Buffer => der(0x13, Buffer.from(text, "latin1"));
export const boolean = (value: boolean): Buffer => der(0x01, Buffer.from([value ? 0xff : 0x00]));
export const nullValue = (): Buffer => der(0x05);

/** Writes a BIT STRING of whole octets, without unused bits. */
export const bitString = (contents: Uint8Array): Buffer => der(0x03, Buffer.from([0]), contents);

/**
 * Writes a BIT STRING of named bits, which sets the bits at the given positions (0 to 7). Trailing zero bits are
 * removed, as X.690 section 11.2.2 demands.
 */
export function namedBits(...positions: number[]): Buffer {
  let octet = 0;
  for (const position of positions) octet |= 0x80 >> position;
  return der(0x03, Buffer.from([7 - Math.max(...positions), octet]));
}

/**
 * Writes a non-negative INTEGER from big-endian octets. Leading zero octets are removed; one zero octet is put back if
 * the number would otherwise read as negative (X.690 section 8.3).
 */
export function unsignedInteger(octets: Uint8Array): Buffer {
  let start = 0;
  while (start < octets.length - 1 && octets[start] === 0) start++;
  const significant = octets.length === 0 ? Buffer.from([0]) : octets.subarray(start);
  return der(0x02, Buffer.from(significant[0]! >= 0x80 ? [0] : []), significant);
}

/** Writes an OBJECT IDENTIFIER from its dotted form. */
export function objectIdentifier(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const octets = [first * 40 + second, ...rest].flatMap((arc) => {
    const groups = [arc & 0x7f];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) {
      groups.unshift(0x80 | (left & 0x7f));
    }
    return groups;
  });
  return der(0x06, Buffer.from(octets));
}

/** Writes a time until 2049 as a UTCTime, and from 2050 on as a GeneralizedTime (RFC 5280 section 4.1.2.5). */
export function time(epochSeconds: number): Buffer {
  const digits = new Date(epochSeconds * 1000).toISOString().replace(/[-:T]|\.\d+/g, "");
  const year = Number(digits.slice(0, 4));
  const fitsUtcTime = year >= 1950 && year < 2050;
  return der(fitsUtcTime ? 0x17 : 0x18, Buffer.from(fitsUtcTime ? digits.slice(2) : digits, "latin1"));
}

/** Writes `[n] EXPLICIT` around elements, or an implicitly tagged constructed element with these contents. */
export const contextConstructed = (n: number, ...contents: Uint8Array[]): Buffer =>
  der(0xa0 | n, ...contents);

/** Writes `[n] IMPLICIT` for a primitive type. */
export const contextPrimitive = (n: number, contents: Uint8Array): Buffer => der(0x80 | n, contents);
