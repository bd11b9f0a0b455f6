import { createHash } from "node:crypto";
import type { CertUpdate } from "../feed/message.ts";
import { tbsSha256 } from "./tbs.ts";

/** Which certificate it is, and of which issuance. */
export interface Identity {
  /** 64 hex digits that identify one act of issuing. A precertificate and its final certificate share them. */
  issuanceId: string;
  /**
   * Identifies the certificate, as precisely as the feed allows: by its fingerprint, else by its TBS hash, else by its
   * issuance and kind (static-ct precertificates come without fingerprint and DER). The same key again means the same
   * certificate again.
   */
  certificateKey: string;
  /** See `tbsSha256`; `null` where the feed sent no usable DER. */
  tbsSha256: string | null;
}

/** Derives the identity of a certificate. Never fails: another field stands in for a missing one. */
export function identify(update: CertUpdate): Identity {
  const issuanceId = issuanceIdOf(update);
  const tbs = update.asDerBase64 === null ? null : tbsSha256(Buffer.from(update.asDerBase64, "base64"));
  return { issuanceId, certificateKey: certificateKeyOf(update, issuanceId, tbs), tbsSha256: tbs };
}

/** The `update_type` of precertificates. Every other value means a final certificate. */
export const precertificateUpdateType = "PrecertLogEntry";

function certificateKeyOf(update: CertUpdate, issuanceId: string, tbs: string | null): string {
  if (update.fingerprintSha1 !== null) return `sha1:${update.fingerprintSha1}`;
  if (tbs !== null) return `tbs:${tbs}`;
  const kind = update.updateType === precertificateUpdateType ? "precertificate" : "final";
  return `issuance:${issuanceId}:${kind}`;
}

/**
 * SHA-256 over the fields that a precertificate shares with its final certificate, and that all servers write alike. An empty
 * field equals an absent one.
 */
function issuanceIdOf(update: CertUpdate): string {
  const names = new Set(update.allDomains.map((name) => name.toLowerCase()));
  const parts = [
    update.issuerCn,
    update.issuerO,
    normalizeSerial(update.serial) ?? update.fingerprintSha1 ?? update.leafJson,
    update.notBeforeEpochSeconds,
    update.notAfterEpochSeconds,
    [...names].sort(),
  ];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

/**
 * A serial number in its normal form: upper-case hex digits without leading zeros, whatever colons, white space or
 * prefix it was written with; `null` where nothing is left. The index on `certs.serial` in schema.sql has the same form.
 */
export function normalizeSerial(serial: string | null): string | null {
  const digits = serial
    ?.replaceAll(/[^0-9A-Fa-f]/g, "")
    .toUpperCase()
    .replace(/^0+/, "");
  return digits === undefined || digits === "" ? null : digits;
}
