import { createHash } from "node:crypto";
import type { Certificate, Issuance } from "./certificates.ts";
import type { DistinguishedName } from "./x509.ts";

/** A CT log as a certstream server names it. `url` has no slash at its end. */
export interface CtLog {
  name: string;
  url: string;
  type: "rfc6962" | "tiled";
}

/** One entry of a CT log. A certstream server makes a message from it. */
export interface LogEntry {
  issuance: Issuance;
  kind: "X509LogEntry" | "PrecertLogEntry";
  log: CtLog;
  index: number;
  /** When the log accepted the entry: epoch seconds to the millisecond. Default: the time of the issuance's SCT. */
  timestampEpochSeconds?: number;
  /** When the certstream server saw the entry: epoch seconds to the millisecond. Default: now. */
  seenEpochSeconds?: number;
}

/** The certificate or precertificate that the entry is about. */
export function loggedCertificate({ issuance, kind }: LogEntry): Certificate {
  const der = kind === "PrecertLogEntry" ? issuance.precertificateDer : issuance.certificateDer;
  return { fields: issuance.fields, der };
}

export const timestampEpochSeconds = (entry: LogEntry): number =>
  entry.timestampEpochSeconds ?? entry.issuance.sctTimestampMs / 1000;

export const seenEpochSeconds = (entry: LogEntry): number => entry.seenEpochSeconds ?? Date.now() / 1000;

/** Returns the URL at which an RFC 6962 log serves the entry. */
export const getEntriesLink = ({ log, index }: LogEntry): string =>
  `${log.url}/ct/v1/get-entries?start=${index}&end=${index}`;

/** Returns the hash of `data` in upper-case hex with colons. */
export const digest = (algorithm: "sha1" | "sha256", data: Uint8Array): string =>
  colons(createHash(algorithm).update(data).digest("hex")).toUpperCase();

/** Writes all attributes as one line, in the order of all servers. An empty CN is written, an absent CN is not. */
export function aggregated({ country, commonName, organization }: DistinguishedName): string {
  const parts = { C: country, CN: commonName, O: organization };
  return Object.entries(parts)
    .map(([key, value]) => (value === undefined ? "" : `/${key}=${value}`))
    .join("");
}

/** Returns the extensions as the servers write them, in the order of certstream-server-go. */
export function describeExtensions(
  { fields }: Certificate,
  { isPrecert = false, extendedKeyUsage = null as string | null } = {},
): Record<string, string | true> {
  return {
    ...(fields.caIssuersUrl !== null && { authorityInfoAccess: `URI:${fields.caIssuersUrl}` }),
    authorityKeyIdentifier: `keyid:${colons(fields.authorityKeyId.toString("hex"))}`,
    basicConstraints: fields.isCa ? "CA:TRUE" : "CA:FALSE",
    ...(fields.policy !== null && { certificatePolicies: `Policy: ${fields.policy}\n` }),
    ...(!fields.isCa && extendedKeyUsage !== null && { extendedKeyUsage }),
    keyUsage: fields.isCa ? "Certificate Signing, CRL Signing" : "Digital Signature",
    ...(fields.dnsNames.length > 0 && {
      subjectAltName: fields.dnsNames.map((name) => `DNS:${name}`).join(", "),
    }),
    subjectKeyIdentifier: `keyid:${colons(fields.subjectKeyId.toString("hex"))}`,
    ...(isPrecert && { ctlPoisonByte: true as const }),
  };
}

const colons = (hex: string): string => hex.replace(/..(?!$)/g, "$&:");
