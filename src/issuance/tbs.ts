import { createHash } from "node:crypto";
import { Malformed } from "./der.ts";
import { readX509, type X509 } from "./x509.ts";

const [sequenceTag, extensionsTag] = [0x30, 0xa3];

/**
 * Returns the SHA-256 of `preCertTbs(der)` in lower-case hex: the same for a precertificate and its final certificate,
 * unless a dedicated precertificate-signing CA signed the precertificate (its issuer and authority key differ).
 *
 * @returns `null` if `preCertTbs` returns `null`; never throws
 */
export function tbsSha256(der: Uint8Array): string | null {
  const tbs = preCertTbs(der);
  return tbs === null ? null : createHash("sha256").update(tbs).digest("hex");
}

/**
 * Reads a certificate and returns its `preCertTbsOf`.
 *
 * @param der the bytes of exactly one certificate
 * @returns `null` if the bytes are anything else, or the certificate has a `problem`. Never throws; takes O(length).
 */
export function preCertTbs(der: Uint8Array): Uint8Array | null {
  try {
    const certificate = readX509(der);
    return certificate.problem === null ? preCertTbsOf(certificate) : null;
  } catch (error) {
    if (error instanceof Malformed) return null;
    throw error;
  }
}

/**
 * Returns the TBSCertificate of an X.509 certificate without its poison and SCT list extensions. Logs sign these bytes
 * for a precertificate (RFC 6962 section 3.2). The lengths around a removed extension are encoded anew, all other bytes
 * stay. If the certificate has neither extension, nothing changes. If a removed extension was the only one, an empty
 * list stays (`a3 02 30 00`), as in certificate-transparency-go (x509/x509.go, removeExtension), which logs run.
 *
 * @param certificate a certificate without a `problem`
 */
export function preCertTbsOf({ reader, tbs, extensionsStart, extensions }: X509): Uint8Array {
  const { bytes } = reader;
  const { list, ct } = extensions;
  if (extensionsStart === null || list === null || ct.length === 0)
    return bytes.subarray(tbs.start, tbs.next);
  const kept: Uint8Array[] = [];
  let at = list.contents;
  for (const { start, next } of ct) {
    kept.push(bytes.subarray(at, start));
    at = next;
  }
  kept.push(bytes.subarray(at, list.end));
  const before = bytes.subarray(tbs.contents, extensionsStart);
  return encoded(sequenceTag, before, encoded(extensionsTag, encoded(sequenceTag, ...kept)));
}

/** Returns an element with these contents. Its length has the fewest octets (X.690 section 10.1). */
function encoded(tag: number, ...contents: Uint8Array[]): Buffer {
  const length = contents.reduce((sum, part) => sum + part.length, 0);
  const header = [length];
  if (length >= 0x80) {
    header.pop();
    for (let left = length; left > 0; left = Math.floor(left / 0x100)) header.unshift(left % 0x100);
    header.unshift(0x80 | header.length);
  }
  return Buffer.concat([Buffer.from([tag, ...header]), ...contents]);
}
