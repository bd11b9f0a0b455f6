import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { boolean, nullValue, objectIdentifier, octetString, sequence } from "./der.ts";

/** Writes an unsigned integer as `octets` big-endian octets (RFC 5246 section 4.4). */
export function uint(octets: number, value: number): Buffer {
  const out = Buffer.alloc(octets);
  // `writeUIntBE` writes 6 octets at most. No number here needs more, so the upper two octets of a uint64 stay zero.
  const written = Math.min(octets, 6);
  out.writeUIntBE(value, octets - written, written);
  return out;
}

/** Writes a variable-length vector: a length of `lengthOctets` octets, then the contents (RFC 5246 section 4.3). */
export function vector(lengthOctets: number, ...contents: Uint8Array[]): Buffer {
  const body = Buffer.concat(contents);
  return Buffer.concat([uint(lengthOctets, body.length), body]);
}

/** The parts of a precertificate that a log signs (RFC 6962 section 3.2). */
export interface PreCert {
  /** SHA-256 of the issuer's SubjectPublicKeyInfo. */
  issuerKeyHash: Buffer;
  /** The TBSCertificate without the poison extension. */
  tbsDer: Buffer;
}

/** The key of a CT log, which signs its SCTs and tree heads. */
export interface CtLogKey {
  publicKey: KeyObject;
  /** SHA-256 of the log's SubjectPublicKeyInfo (RFC 6962 section 3.2). */
  logId: Buffer;
  /** Returns the `digitally-signed` element for `data`: ECDSA P-256 with SHA-256 (RFC 5246 section 4.7). */
  digitallySign(data: Uint8Array): Buffer;
}

/** Makes a new log key: ECDSA P-256. */
export function createCtLogKey(): CtLogKey {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const sha256 = 4;
  const ecdsa = 3;
  return {
    publicKey,
    logId: createHash("sha256")
      .update(publicKey.export({ type: "spki", format: "der" }))
      .digest(),
    digitallySign: (data) =>
      Buffer.concat([Buffer.from([sha256, ecdsa]), vector(2, sign("sha256", data, privateKey))]),
  };
}

/** Returns the bytes that the SCT of a precertificate signs (RFC 6962 section 3.2), without CtExtensions. */
export function signedPrecertData(entry: PreCert, timestampMs: number): Buffer {
  const version = 0;
  const certificateTimestamp = 0;
  return Buffer.concat([
    Buffer.from([version, certificateTimestamp]),
    uint(8, timestampMs),
    uint(2, 1),
    entry.issuerKeyHash,
    vector(3, entry.tbsDer),
    vector(2),
  ]);
}

/** Makes a SignedCertificateTimestamp (RFC 6962 section 3.2) for a precertificate. */
export function signedCertificateTimestamp(log: CtLogKey, entry: PreCert, timestampMs: number): Buffer {
  const signature = log.digitallySign(signedPrecertData(entry, timestampMs));
  return Buffer.concat([Buffer.from([0]), log.logId, uint(8, timestampMs), vector(2), signature]);
}

/** Makes the poison extension, which keeps a precertificate from being used (RFC 6962 section 3.1): critical, NULL. */
export function poisonExtension(): Buffer {
  return sequence(objectIdentifier("1.3.6.1.4.1.11129.2.4.3"), boolean(true), octetString(nullValue()));
}

/** Makes the extension that embeds SCTs in a final certificate (RFC 6962 section 3.3). */
export function sctListExtension(scts: Buffer[]): Buffer {
  const list = vector(2, ...scts.map((sct) => vector(2, sct)));
  return sequence(objectIdentifier("1.3.6.1.4.1.11129.2.4.2"), octetString(octetString(list)));
}
