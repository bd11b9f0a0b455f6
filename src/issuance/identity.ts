import { createHash } from "node:crypto";
import type { CertUpdate } from "../feed/message.ts";

/** Who a certificate is, for deduplication and judgement. */
export interface Identity {
  /** 64 hex digits: one act of issuing. Its precertificate and its final certificate share it. */
  issuanceId: string;
  /**
   * Which certificate it is, as precisely as the feed allows: by its fingerprint, else by its issuance and kind (the
   * fingerprint of a static-ct precertificate is that of nothing). The same key again is the same certificate again.
   */
  certificateKey: string;
}

/** Derives the identity of a certificate. Never fails: what is missing is replaced by what is there. */
export function identify(update: CertUpdate): Identity {
  const issuanceId = issuanceIdOf(update);
  const kind = isPrecertificate(update) ? "precertificate" : "final";
  const certificateKey =
    update.fingerprintSha1 !== null ? `sha1:${update.fingerprintSha1}` : `issuance:${issuanceId}:${kind}`;
  return { issuanceId, certificateKey };
}

export function isPrecertificate(update: CertUpdate): boolean {
  return update.updateType === "PrecertLogEntry";
}

/**
 * SHA-256 over what precertificate and final certificate of one issuance have in common, and what servers that write
 * the same certificate differently agree on. Empty equals absent.
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

/** Upper-case hex without leading zeros or separators: the same for every notation of a serial number. */
export function normalizeSerial(serial: string | null): string | null {
  if (serial === null) return null;
  const normalized = serial
    .replaceAll(/[:\s]/g, "")
    .toUpperCase()
    .replace(/^(0X)?0*(?=.)/, "");
  return normalized === "" ? null : normalized;
}
