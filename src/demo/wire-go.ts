import type { Certificate } from "./certificates.ts";
import {
  aggregated,
  describeExtensions,
  digest,
  getEntriesLink,
  type LogEntry,
  loggedCertificate,
  seenEpochSeconds,
  timestampEpochSeconds,
} from "./log-entry.ts";
import type { CertificateFields, DistinguishedName } from "./x509.ts";

/**
 * Returns the message that certstream-server-go 1.9 sends. `internal/models/certstream.go` there has the keys and their
 * order, `internal/certificatetransparency/ct-parser.go` has the values. The interop tests compare the message with the
 * real server's. The lite feed lacks `chain` and `as_der`.
 */
export function goMessage(entry: LogEntry, isLite: boolean) {
  const { log } = entry;
  const isTiled = log.type === "tiled";
  const isPrecert = entry.kind === "PrecertLogEntry";
  const chain = entry.issuance.chain.map((certificate) => goCertificate(certificate, false, true));
  const logged = loggedCertificate(entry);
  // The server keeps only the TBSCertificate of a static-ct precertificate: it hashes no bytes, and sends no DER.
  const leaf = isTiled && isPrecert ? { ...logged, der: Buffer.alloc(0) } : logged;
  const data = {
    cert_index: entry.index,
    cert_link: isTiled ? "" : getEntriesLink(entry),
    ...(!isTiled && !isLite && { chain }),
    leaf_cert: goCertificate(leaf, isPrecert, !isLite),
    seen: seenEpochSeconds(entry),
    source: { name: log.name, url: log.url, timestamp: timestampEpochSeconds(entry), type: log.type },
    update_type: entry.kind,
  };
  return { data, message_type: "certificate_update" };
}

/** Returns all names of a leaf: the SANs, then the CN if it is not among the SANs. */
export function goDomains({ dnsNames, subject, isCa }: CertificateFields): string[] {
  const { commonName = "" } = subject;
  return isCa || commonName === "" || dnsNames.includes(commonName) ? dnsNames : [...dnsNames, commonName];
}

function goCertificate(certificate: Certificate, isPrecert: boolean, withDer: boolean) {
  const { fields, der } = certificate;
  const sha1 = digest("sha1", der);
  return {
    all_domains: goDomains(fields),
    ...(withDer && der.length > 0 && { as_der: der.toString("base64") }),
    extensions: describeExtensions(certificate, { isPrecert }),
    fingerprint: sha1,
    sha1,
    sha256: digest("sha256", der),
    not_after: fields.notAfterEpochSeconds,
    not_before: fields.notBeforeEpochSeconds,
    serial_number: fields.serialHex,
    signature_algorithm: "ecdsa, sha256",
    subject: goName(fields.subject),
    issuer: goName(fields.issuer),
    is_ca: fields.isCa,
  };
}

/** Returns a name with all eight keys. An absent attribute is `null`, but an absent CN is `""`. */
function goName({ country, organization, commonName = "" }: DistinguishedName) {
  return {
    C: country ?? null,
    CN: commonName,
    L: null,
    O: organization ?? null,
    OU: null,
    ST: null,
    aggregated: aggregated({
      ...(country !== undefined && { country }),
      commonName,
      ...(organization !== undefined && { organization }),
    }),
    email_address: null,
  };
}
