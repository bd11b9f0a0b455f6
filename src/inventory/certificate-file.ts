import { createHash, X509Certificate } from "node:crypto";
import { readDer } from "../issuance/certificate.ts";
import { parseWatchEntry } from "../watchlist/domain.ts";

/** A server's or client's certificate (not a CA's), in the columns of `public.certs`. */
export interface InventoryCertificate {
  /** The SHA-1 of the DER, in lower-case hex. */
  fingerprint_sha1: string;
  /** Upper-case hex. */
  serial: string;
  /** The DNS names of the subjectAltName extension, in its order. */
  sans: string[];
  not_before: number;
  not_after: number;
  /** The hash that `tbsSha256` computes. */
  tbs_sha256: string | null;
}

/** What was found in a file. */
export interface CertificateFile {
  certificates: InventoryCertificate[];
  /** One phrase for each certificate that does not belong into the inventory. */
  skipped: string[];
  /** One phrase for each thing that could not be read. The file may be half written at the moment. */
  problems: string[];
}

/** A PEM block, with its label. A block that is cut off by the beginning of the next one does not match. */
const pemBlock = /-----BEGIN ([A-Z0-9 ]{1,40})-----(?:(?!-----BEGIN )[\s\S])*?-----END \1-----/g;
const pemCertificateLabel = /^(X509 |TRUSTED )?CERTIFICATE$/;
const pemCertificateBegin = /-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----/g;
const derSequenceTag = 0x30;

/**
 * Reads a file with certificates: either PEM, with one or many and with any text between them, or the DER of one.
 * Private keys and other PEM blocks are passed over. A file without any certificate gives three empty lists. Never
 * throws.
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
  // By the reader that reads the feed's certificates: Node.js takes a year below 100 for one of the last centuries.
  const reading = readDer(der);
  const validity = reading.state === "junk" ? null : reading.certificate;
  return {
    fingerprint_sha1: createHash("sha1").update(der).digest("hex"),
    serial: certificate.serialNumber,
    sans: dnsNames(certificate.subjectAltName),
    not_before: validity?.notBeforeEpochSeconds ?? Number.NaN,
    not_after: validity?.notAfterEpochSeconds ?? Number.NaN,
    tbs_sha256: reading.state === "read" ? reading.tbsSha256 : null,
  };
}

/**
 * Whether this is the certificate of a CA. `openssl req -x509` marks every certificate that it makes as one. So a
 * marked certificate that names hosts, in its SANs or, self-signed, in its CN, is taken for a server's.
 */
function isAuthority(certificate: X509Certificate, { sans }: InventoryCertificate): boolean {
  if (!certificate.ca || sans.length > 0) return false;
  const commonName = /^CN=(.*)$/m.exec(subjectOf(certificate))?.[1] ?? "";
  return !("entry" in parseWatchEntry(commonName) && certificate.checkIssued(certificate));
}

/**
 * The subject, each attribute on a line of its own. For an empty subject Node.js has `undefined`, although its types
 * say otherwise.
 */
function subjectOf(certificate: X509Certificate): string {
  return (certificate.subject as string | undefined) ?? "";
}

/**
 * Reads the DNS names from the text that Node.js makes of the extension: `DNS:a.org, IP Address:192.0.2.1,
 * DNS:"x\u002cy"`. A value with an unusual character is written as a JSON string with one character for each byte
 * (Node.js, src/crypto/crypto_common.cc, PrintAltName).
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
