import {
  bitString,
  contextConstructed,
  objectIdentifier,
  sequence,
  time,
  unsignedInteger,
} from "../../src/demo/der.ts";
import { ecdsaWithSha256 } from "../../src/demo/x509.ts";

/** Certificates that no CA makes, put together by hand: they have the outline of one and no sense. */

/** The fields of a TBSCertificate before the extensions. */
export const outline: readonly Buffer[] = [
  contextConstructed(0, unsignedInteger(Buffer.from([2]))),
  unsignedInteger(Buffer.from([0x7b])),
  ecdsaWithSha256,
  sequence(),
  sequence(time(1_800_000_000), time(1_807_776_000)),
  sequence(),
  sequence(ecdsaWithSha256, bitString(Buffer.alloc(65))),
];

export const tbsOf = (...extensions: Uint8Array[]): Buffer =>
  sequence(...outline, contextConstructed(3, sequence(...extensions)));

export const certificateOf = (tbs: Uint8Array): Buffer =>
  sequence(tbs, ecdsaWithSha256, bitString(Buffer.alloc(70)));

export const extension = (id: string, value: Uint8Array): Buffer => sequence(objectIdentifier(id), value);

/** A SEQUENCE in a SEQUENCE in a SEQUENCE, the innermost one empty. */
export function nested(depth: number): Buffer {
  // Header by header from the inside out: copying what is inside at each step would take depth² time.
  const headers: Buffer[] = [];
  let length = 0;
  for (let i = 0; i < depth; i++) {
    const octets = Buffer.alloc(4);
    octets.writeUInt32BE(length);
    const minimal = octets.subarray(octets.findIndex((octet) => octet !== 0));
    const header = length < 0x80 ? [0x30, length] : [0x30, 0x80 | minimal.length, ...minimal];
    headers.push(Buffer.from(header));
    length += header.length;
  }
  return Buffer.concat(headers.reverse());
}
