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
import { goDomains } from "./wire-go.ts";
import type { CertificateFields, DistinguishedName } from "./x509.ts";

/**
 * Returns the message that certstream-server-rust sends. `src/models/certificate.rs` there has the keys and their
 * order, `src/ct/parser.rs` has the values.
 */
export function rustMessage(entry: LogEntry, isLite: boolean) {
  const { url, name } = entry.log;
  const isPrecert = entry.kind === "PrecertLogEntry";
  const leaf = loggedCertificate(entry);
  const { extensions, ...rest } = rustCertificate(leaf, isPrecert);
  const data = {
    update_type: entry.kind,
    leaf_cert: {
      ...rest,
      all_domains: rustDomains(leaf.fields),
      ...(!isLite && { as_der: leaf.der.toString("base64") }),
      extensions,
    },
    ...(!isLite && { chain: entry.issuance.chain.map((certificate) => rustCertificate(certificate, false)) }),
    cert_index: entry.index,
    cert_link:
      entry.log.type === "tiled" ? `${url}/tile/data/${tilePath(entry.index)}` : getEntriesLink(entry),
    seen: seenEpochSeconds(entry),
    submission_timestamp: timestampEpochSeconds(entry),
    source: { name, url },
  };
  return { message_type: "certificate_update", data };
}

/** Returns the CN, then the SANs, without duplicates. (certstream-server-go writes the SANs first.) */
export const rustDomains = ({ dnsNames, subject, isCa }: CertificateFields): string[] => [
  ...new Set([...(isCa || !subject.commonName ? [] : [subject.commonName]), ...dnsNames]),
];

/** Returns an item of the chain. A leaf has two more keys. */
function rustCertificate(certificate: Certificate, isPrecert: boolean) {
  const { fields, der } = certificate;
  const sha1 = digest("sha1", der);
  return {
    subject: rustName(fields.subject),
    issuer: rustName(fields.issuer),
    serial_number: fields.serialHex,
    not_before: fields.notBeforeEpochSeconds,
    not_after: fields.notAfterEpochSeconds,
    fingerprint: sha1,
    sha1,
    sha256: digest("sha256", der),
    signature_algorithm: "ecdsa, sha256",
    is_ca: fields.isCa,
    extensions: describeExtensions(certificate, { isPrecert, extendedKeyUsage: "serverAuth" }),
  };
}

/** Absent attributes are left out; `aggregated` is always there. */
const rustName = (name: DistinguishedName) => ({
  ...(name.country !== undefined && { C: name.country }),
  ...(name.commonName !== undefined && { CN: name.commonName }),
  ...(name.organization !== undefined && { O: name.organization }),
  aggregated: aggregated(name),
});

/** The path of the data tile with an entry: groups of 3 digits, all but the last after `x` (c2sp.org/static-ct-api). */
function tilePath(index: number): string {
  const tile = String(Math.floor(index / 256));
  const groups = tile.padStart(Math.ceil(tile.length / 3) * 3, "0").match(/.../g)!;
  return groups.map((group, i) => (i < groups.length - 1 ? `x${group}` : group)).join("/");
}

/**
 * Returns the message that the older CaliDog server sends: without `leaf_cert.issuer` (it is `chain[0].subject`), and
 * with DER in the chain items. Serial numbers have no leading zero digit, so some have an odd number of digits.
 */
export function caliDogMessage(entry: LogEntry, isLite: boolean) {
  const chain = entry.issuance.chain.map((certificate) => caliDogCertificate(certificate, !isLite));
  const data = {
    update_type: entry.kind,
    leaf_cert: caliDogCertificate(loggedCertificate(entry), !isLite),
    ...(!isLite && { chain }),
    cert_index: entry.index,
    cert_link: getEntriesLink(entry),
    seen: seenEpochSeconds(entry),
    source: { url: entry.log.url, name: entry.log.name },
  };
  return { message_type: "certificate_update", data };
}

function caliDogCertificate(certificate: Certificate, withDer: boolean) {
  const { fields, der } = certificate;
  const { country = null, organization = null, commonName = null } = fields.subject;
  return {
    subject: {
      aggregated: aggregated(fields.subject),
      C: country,
      ST: null,
      L: null,
      O: organization,
      OU: null,
      CN: commonName,
    },
    extensions: describeExtensions(certificate),
    not_before: fields.notBeforeEpochSeconds,
    not_after: fields.notAfterEpochSeconds,
    serial_number: fields.serialHex.replace(/^0(?=.)/, ""),
    fingerprint: digest("sha1", der),
    ...(withDer && { as_der: der.toString("base64") }),
    ...(!fields.isCa && { all_domains: goDomains(fields) }),
  };
}
