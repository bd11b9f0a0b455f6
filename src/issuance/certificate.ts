import { createHash } from "node:crypto";
import { toEpochSeconds, toSerial } from "../feed/message.ts";
import { serialText } from "./asn1-values.ts";
import { Malformed } from "./der.ts";
import { preCertTbsOf } from "./tbs.ts";
import { readX509, type X509 } from "./x509.ts";

/**
 * The fields of a certificate, read from its DER. They are written as honest servers write them in JSON, so the DER and
 * the JSON of a certificate give the same `issuance_id`. A field that is absent or unusable is `null`, as in
 * `CertUpdate`. Strings can be as long as the DER; they may contain U+0000, but no lone surrogates.
 */
export interface ReadCertificate {
  /** SHA-1 of all bytes that were given. Lower-case hex, like every hash here. */
  fingerprintSha1: string;
  fingerprintSha256: string;
  /** SHA-256 of the SubjectPublicKeyInfo's bytes. */
  spkiSha256: string;
  /** Whether the certificate has the poison extension (RFC 6962 section 3.1). */
  isPrecertificate: boolean;
  /** The serial number as `serialText` writes it; `null` if it is 0 or too large to be of use. */
  serial: string | null;
  notBeforeEpochSeconds: number | null;
  notAfterEpochSeconds: number | null;
  issuerCn: string | null;
  issuerO: string | null;
  issuerAggregated: string | null;
  subjectCn: string | null;
  /** The dNSNames of the subject alternative names, in their order: at most 300,000, and all if the state is `read`. */
  dnsNames: string[];
  /** `dnsNames`, then the CN if `dnsNames` lacks it. The CN of a CA is not added: it is not a host name. */
  allDomains: string[];
}

/** The result of reading the bytes in `as_der`. */
export type DerReading =
  /** The bytes are exactly one certificate. */
  | { state: "read"; certificate: ReadCertificate; tbsSha256: string }
  /**
   * Go or OpenSSL reads the bytes as a certificate, but not every reader would read the same in them, so there is no
   * TBS hash. `certificate` has the most that any reader could find. Do not rely on its fields.
   */
  | { state: "unreadable"; certificate: ReadCertificate; problem: string }
  /** Neither Go nor OpenSSL reads the bytes as a certificate. */
  | { state: "junk"; fingerprintSha256: string; problem: string };

/**
 * Reads the bytes of `as_der`. Never throws; takes O(length) time and a bounded stack. `problem` in the result is a
 * clause for people, such as `it has two SCT list extensions`.
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
