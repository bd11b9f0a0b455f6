import { createHash } from "node:crypto";
import { toEpochSeconds, toSerial } from "../feed/message.ts";
import { serialText } from "./asn1-values.ts";
import { Malformed } from "./der.ts";
import { preCertTbsOf } from "./tbs.ts";
import { readX509, type X509 } from "./x509.ts";

/**
 * What a certificate says, read from its DER, written as honest servers write it in JSON: the same `issuance_id` comes of
 * both. Absent and unusable are `null`, as in `CertUpdate`. Strings have any length that the DER has room for; U+0000 may
 * be in them, lone surrogates are not.
 */
export interface ReadCertificate {
  /** Of the bytes, all of them. Lower-case hex, like every hash here. */
  fingerprintSha1: string;
  fingerprintSha256: string;
  /** SHA-256 of the SubjectPublicKeyInfo's bytes. */
  spkiSha256: string;
  /** It has the poison (RFC 6962 section 3.1). */
  isPrecertificate: boolean;
  /** See `serialText`; `null` for 0, and for a number too large to be of use. */
  serial: string | null;
  notBeforeEpochSeconds: number | null;
  notAfterEpochSeconds: number | null;
  issuerCn: string | null;
  issuerO: string | null;
  issuerAggregated: string | null;
  subjectCn: string | null;
  /** The dNSNames of the subject alternative names in their order; 300,000 at most, of `read` certificates all. */
  dnsNames: string[];
  /** `dnsNames`, then the CN where it is not among them. The CN of a CA is no name of a host. */
  allDomains: string[];
}

/** What the bytes in `as_der` are. */
export type DerReading =
  /** One certificate. */
  | { state: "read"; certificate: ReadCertificate; tbsSha256: string }
  /**
   * A certificate to Go or to OpenSSL, but not one that every reader would read alike: it has no TBS hash. What it says is
   * the most that any reader could find in it, and not to be relied on.
   */
  | { state: "unreadable"; certificate: ReadCertificate; problem: string }
  /** No certificate to either of them. */
  | { state: "junk"; fingerprintSha256: string; problem: string };

/**
 * Reads what `as_der` held. Never throws; takes O(length) and bounded stack. `problem` is a clause for people, such as
 * `it has two SCT list extensions`.
 */
export function readDer(der: Uint8Array): DerReading {
  let x509: X509;
  try {
    x509 = readX509(der);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return { state: "junk", fingerprintSha256: hashOf("sha256", der), problem: error.message };
  }
  const certificate = toReadCertificate(der, x509);
  if (x509.problem !== null) return { state: "unreadable", certificate, problem: x509.problem };
  return { state: "read", certificate, tbsSha256: hashOf("sha256", preCertTbsOf(x509)) };
}

function toReadCertificate(der: Uint8Array, x509: X509): ReadCertificate {
  const { reader, serial, issuer, subject, publicKeyInfo } = x509;
  const { dnsNames, isCa, isPrecertificate } = x509.extensions;
  const { bytes } = reader;
  const isFurtherName = subject.cn !== null && !isCa && !dnsNames.includes(subject.cn);
  return {
    fingerprintSha1: hashOf("sha1", der),
    fingerprintSha256: hashOf("sha256", der),
    spkiSha256: hashOf("sha256", bytes.subarray(publicKeyInfo.start, publicKeyInfo.next)),
    isPrecertificate,
    serial: toSerial(serialText(bytes.subarray(serial.contents, serial.end))),
    notBeforeEpochSeconds: toEpochSeconds(x509.notBeforeEpochSeconds),
    notAfterEpochSeconds: toEpochSeconds(x509.notAfterEpochSeconds),
    issuerCn: issuer.cn,
    issuerO: issuer.o,
    issuerAggregated: issuer.aggregated,
    subjectCn: subject.cn,
    dnsNames,
    allDomains: isFurtherName ? [...dnsNames, subject.cn!] : dnsNames,
  };
}

const hashOf = (algorithm: "sha1" | "sha256", bytes: Uint8Array): string =>
  createHash(algorithm).update(bytes).digest("hex");
