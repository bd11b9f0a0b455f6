import { createHash, X509Certificate } from "node:crypto";
import { tbsSha256 } from "../issuance/tbs.ts";
import { parseWatchEntry } from "../watchlist/domain.ts";

/** An end-entity certificate in the terms of `public.certs`. */
export interface InventoryCertificate {
  /** SHA-1 of the DER, lower-case hex. */
  fingerprint_sha1: string;
  /** Upper-case hex. */
  serial: string;
  /** The dNSName SANs in their order. */
  sans: string[];
  not_before: number;
  not_after: number;
  /** See `tbsSha256`. */
  tbs_sha256: string | null;
}

/** What a file holds. */
export interface CertificateFile {
  certificates: InventoryCertificate[];
  /** Certificates that are not inventory, a phrase for each. */
  skipped: string[];
  /** What could not be read, a phrase for each; perhaps it is being written right now. */
  problems: string[];
}

/** A block with its label; one that another block begins in is cut off and does not count. */
const pemBlock = /-----BEGIN ([A-Z0-9 ]{1,40})-----(?:(?!-----BEGIN )[\s\S])*?-----END \1-----/g;
const pemCertificateLabel = /^(X509 |TRUSTED )?CERTIFICATE$/;
const pemCertificateBegin = /-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----/g;
const derSequenceTag = 0x30;

/**
 * Reads PEM (one or many certificates, with anything between them) or the DER of one certificate. Private keys and
 * whatever else is in PEM blocks is passed over; a file without any certificate gives three empty lists. Never throws.
 */
export function readCertificateFile(bytes: Buffer): CertificateFile {
  const file: CertificateFile = { certificates: [], skipped: [], problems: [] };
  const text = bytes.toString("latin1");
  if (!text.includes("-----BEGIN ")) {
    if (bytes[0] === derSequenceTag) readOne(file, bytes, "DER");
    return file;
  }
  let complete = 0;
  for (const [block, label] of text.matchAll(pemBlock)) {
    if (!pemCertificateLabel.test(label!)) continue;
    complete += 1;
    readOne(file, block, `PEM certificate ${complete}`);
  }
  const begun = text.match(pemCertificateBegin)?.length ?? 0;
  if (begun > complete) file.problems.push("a PEM certificate is cut off");
  return file;
}

function readOne(file: CertificateFile, encoded: string | Buffer, what: string): void {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(encoded);
  } catch {
    file.problems.push(`${what}: not an X.509 certificate`);
    return;
  }
  const read = toInventory(certificate);
  if (isAuthority(certificate, read)) {
    file.skipped.push(`${what}: a CA certificate (${subjectOf(certificate).replaceAll("\n", ", ")})`);
  } else if (!Number.isSafeInteger(read.not_before) || !Number.isSafeInteger(read.not_after)) {
    file.problems.push(`${what}: its validity cannot be read`);
  } else {
    file.certificates.push(read);
  }
}

function toInventory(certificate: X509Certificate): InventoryCertificate {
  const der = certificate.raw;
  return {
    fingerprint_sha1: createHash("sha1").update(der).digest("hex"),
    serial: certificate.serialNumber,
    sans: dnsNames(certificate.subjectAltName),
    not_before: Date.parse(certificate.validFrom) / 1000,
    not_after: Date.parse(certificate.validTo) / 1000,
    tbs_sha256: tbsSha256(der),
  };
}

/**
 * `openssl req -x509` marks what it makes as a CA: one that names hosts is a server's all the same.
 */
function isAuthority(certificate: X509Certificate, { sans }: InventoryCertificate): boolean {
  if (!certificate.ca || sans.length > 0) return false;
  const commonName = /^CN=(.*)$/m.exec(subjectOf(certificate))?.[1] ?? "";
  return !("entry" in parseWatchEntry(commonName) && certificate.checkIssued(certificate));
}

/** Attributes on lines of their own. Node.js has `undefined` for an empty subject, which its types deny. */
function subjectOf(certificate: X509Certificate): string {
  return (certificate.subject as string | undefined) ?? "";
}

/**
 * Takes node's text apart: `DNS:a.org, IP Address:192.0.2.1, DNS:"x\u002cy"`. A value with anything unusual in it is
 * written as a JSON string, a character for each byte (node, src/crypto/crypto_common.cc, PrintAltName).
 */
function dnsNames(subjectAltName: string | undefined): string[] {
  const names: string[] = [];
  for (const [, type, value] of (subjectAltName ?? "").matchAll(
    /(?<=^|, )([^:,"]+):("(?:[^"\\]|\\.)*"|[^,]*)(?=, |$)/g,
  )) {
    if (type !== "DNS") continue;
    names.push(
      value!.startsWith('"') ? Buffer.from(JSON.parse(value!) as string, "latin1").toString("utf8") : value!,
    );
  }
  return names;
}
