import { type CertUpdate, precertificateUpdateType } from "../feed/message.ts";
import { type DerReading, type ReadCertificate, readDer } from "./certificate.ts";
import { normalizeSerial } from "./serial.ts";

/** The result of comparing the JSON of a message with the DER in its `as_der`. */
export interface Evidence {
  /**
   * The message with the values that certwatch believes. If `as_der` holds a certificate, every field that a
   * certificate has comes from the DER, because the JSON beside it proves nothing.
   */
  update: CertUpdate;
  /** The result of reading `as_der`; `null` if the message has no `as_der`. */
  reading: DerReading | null;
  /** The fields in which the JSON differs from the certificate: `names`, `serial`, ... */
  contradictions: string[];
}

/** Compares the JSON of a message with its DER. Never fails. */
export function weigh(update: CertUpdate): Evidence {
  if (update.asDerBase64 === null) return { update, reading: null, contradictions: [] };
  const reading = readDer(Buffer.from(update.asDerBase64, "base64"));
  if (reading.state === "junk") return { update, reading, contradictions: [] };
  const { certificate } = reading;
  return {
    update: asCertificateSays(update, certificate),
    reading,
    contradictions: contradictionsBetween(update, certificate),
  };
}

function asCertificateSays(update: CertUpdate, certificate: ReadCertificate): CertUpdate {
  return {
    ...update,
    updateType: certificate.isPrecertificate ? precertificateUpdateType : "X509LogEntry",
    fingerprintSha1: certificate.fingerprintSha1,
    allDomains: certificate.allDomains,
    subjectCn: certificate.subjectCn,
    issuerCn: certificate.issuerCn,
    issuerO: certificate.issuerO,
    issuerAggregated: certificate.issuerAggregated,
    serial: certificate.serial,
    notBeforeEpochSeconds: certificate.notBeforeEpochSeconds,
    notAfterEpochSeconds: certificate.notAfterEpochSeconds,
  };
}

/** Returns the fields in which the JSON differs from the certificate. A `null` in the JSON does not count. */
function contradictionsBetween(update: CertUpdate, certificate: ReadCertificate): string[] {
  const differ = (said: unknown, true_: unknown) => said !== null && said !== true_;
  const isPrecertificate = update.updateType === null ? null : update.updateType === precertificateUpdateType;
  const found: [string, boolean][] = [
    ["fingerprint", differ(update.fingerprintSha1, certificate.fingerprintSha1)],
    ["names", nameSet(update.allDomains) !== nameSet(certificate.allDomains)],
    ["serial", differ(normalizeSerial(update.serial), normalizeSerial(certificate.serial))],
    ["not_before", differ(update.notBeforeEpochSeconds, certificate.notBeforeEpochSeconds)],
    ["not_after", differ(update.notAfterEpochSeconds, certificate.notAfterEpochSeconds)],
    ["issuer CN", differ(update.issuerCn, certificate.issuerCn)],
    ["issuer O", differ(update.issuerO, certificate.issuerO)],
    ["update_type", differ(isPrecertificate, certificate.isPrecertificate)],
  ];
  return found.filter(([, isDifferent]) => isDifferent).map(([field]) => field);
}

const nameSet = (names: string[]) =>
  JSON.stringify([...new Set(names.map((name) => name.toLowerCase()))].sort());
