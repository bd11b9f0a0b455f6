import { createHash } from "node:crypto";
import { type CertUpdate, precertificateUpdateType } from "../feed/message.ts";
import type { DerReading } from "./certificate.ts";
import { type Evidence, weigh } from "./evidence.ts";
import { normalizeSerial } from "./serial.ts";
import { tbsSha256 } from "./tbs.ts";

/** Which certificate it is, and of which issuance. */
export interface Identity {
  /** 64 hex digits that identify one act of issuing. A precertificate and its final certificate share them. */
  issuanceId: string;
  /**
   * Identifies the certificate: by the hash of its DER; without DER by claimed fingerprint, issuance and kind; without
   * fingerprint, too, by issuance and kind (static-ct precertificates). Bytes in `as_der` that are no certificate count only
   * together with issuance and kind, so that a server which sends the same bytes with every message silences nothing. The
   * same key again means the same certificate again.
   */
  certificateKey: string;
  /** Keys under which the same certificate may come again: as a feed without DER claims it, as version 0.1.0 wrote it. */
  otherKeys: string[];
  /**
   * See `tbsSha256`; `null` without DER. Where the DER has no TBS hash that certwatch can read, the hash of all its bytes
   * stands in: it equals nothing, so nothing is recognised by it and nothing merges with it.
   */
  tbsSha256: string | null;
  /** The key and the TBS hash that version 0.1.0 gave this message: how its rows are found. */
  earlier: { key: string; tbsSha256: string | null };
}

type Kind = "precertificate" | "final";

/**
 * Derives the identity of a certificate. Never fails: another field stands in for a missing one.
 *
 * @param received the message as it came.
 * @param evidence what the message is evidence of.
 */
export function identify(received: CertUpdate, evidence: Evidence = weigh(received)): Identity {
  const { update, reading } = evidence;
  const issuanceId = issuanceIdOf(update);
  const kind = update.updateType === precertificateUpdateType ? "precertificate" : "final";
  const claimed = claimKey(update.fingerprintSha1, issuanceId, kind);
  const certificateKey = certificateKeyOf(reading, issuanceId, kind) ?? claimed;
  const earlier = earlierIdentity(received);
  const isCertificate = reading !== null && reading.state !== "junk";
  return {
    issuanceId,
    certificateKey,
    otherKeys: [...(isCertificate ? [claimed] : []), earlier.key].filter((key) => key !== certificateKey),
    tbsSha256: tbsOf(reading),
    earlier,
  };
}

/** `null` without DER. */
function certificateKeyOf(reading: DerReading | null, issuanceId: string, kind: Kind): string | null {
  if (reading === null) return null;
  if (reading.state === "junk") return `junk:${reading.fingerprintSha256}:${issuanceId}:${kind}`;
  return `der:${reading.certificate.fingerprintSha256}`;
}

/** The key of a certificate that a feed without DER speaks of. */
function claimKey(fingerprintSha1: string | null, issuanceId: string, kind: Kind): string {
  return fingerprintSha1 === null
    ? `issuance:${issuanceId}:${kind}`
    : `claim:${fingerprintSha1}:${issuanceId}:${kind}`;
}

function tbsOf(reading: DerReading | null): string | null {
  if (reading === null) return null;
  if (reading.state === "read") return reading.tbsSha256;
  return reading.state === "junk" ? reading.fingerprintSha256 : reading.certificate.fingerprintSha256;
}

/** As version 0.1.0 did it, from the JSON alone. Must not change while its rows or replicas may be there. */
function earlierIdentity(received: CertUpdate): Identity["earlier"] {
  const { fingerprintSha1, asDerBase64, updateType } = received;
  const tbs = asDerBase64 === null ? null : tbsSha256(Buffer.from(asDerBase64, "base64"));
  if (fingerprintSha1 !== null) return { key: `sha1:${fingerprintSha1}`, tbsSha256: tbs };
  if (tbs !== null) return { key: `tbs:${tbs}`, tbsSha256: tbs };
  const kind = updateType === precertificateUpdateType ? "precertificate" : "final";
  return { key: `issuance:${issuanceIdOf(received)}:${kind}`, tbsSha256: null };
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
