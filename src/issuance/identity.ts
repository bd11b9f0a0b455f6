import { createHash } from "node:crypto";
import { type CertUpdate, precertificateUpdateType } from "../feed/message.ts";
import { conversionBudget, normalName } from "../watchlist/domain.ts";
import type { DerReading } from "./certificate.ts";
import { type Evidence, weigh } from "./evidence.ts";
import { normalizeSerial } from "./serial.ts";
import { tbsSha256 } from "./tbs.ts";

/** Identifies a certificate, and the issuance that the certificate belongs to. */
export interface Identity {
  /** 64 hex digits that identify one act of issuing. A precertificate and its final certificate have the same. */
  issuanceId: string;
  /**
   * Identifies the certificate: two messages with the same key are about the same certificate. The key is made from the
   * hash of the DER. Without DER, it is made from the claimed fingerprint, issuance and kind; without a fingerprint
   * either (static-ct precertificates), from issuance and kind. If `as_der` is no certificate, the key is made from the
   * hash of its bytes, issuance and kind: a server that sends the same bytes with every message silences nothing.
   */
  certificateKey: string;
  /** Other keys that the same certificate may have: the key from a feed without DER, and the key from version 0.1.0. */
  otherKeys: string[];
  /**
   * The TBS hash (see `tbsSha256`); `null` without DER. If certwatch can read no TBS hash from the DER, this field has
   * the hash of the whole DER. Such a hash equals no TBS hash: nothing is recognised by it, and nothing merges by it.
   */
  tbsSha256: string | null;
  /**
   * 64 hex digits over serial number, validity and names: what an inventory row and a precertificate have in common.
   * One issuance alone is excused by it. `null` if serial number or validity is missing.
   */
  serialKey: string | null;
  /** The key and the TBS hash that version 0.1.0 gave this message. They find the rows that version 0.1.0 wrote. */
  earlier: { key: string; tbsSha256: string | null };
}

type Kind = "precertificate" | "final";

/**
 * Derives the identity of a certificate. Never fails: another field stands in for a missing one.
 *
 * @param received the message as the feed sent it.
 * @param evidence the result of `weigh(received)`.
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
    serialKey: serialKeyOf(update),
    earlier,
  };
}

/** Returns the key of a certificate that the feed sent with DER; `null` without DER. */
function certificateKeyOf(reading: DerReading | null, issuanceId: string, kind: Kind): string | null {
  if (reading === null) return null;
  if (reading.state === "junk") return `junk:${reading.fingerprintSha256}:${issuanceId}:${kind}`;
  return `der:${reading.certificate.fingerprintSha256}`;
}

/** Returns the key that a certificate has if the feed sends it without DER. */
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

/** Returns the identity that version 0.1.0 derives. Do not change this while rows or replicas of 0.1.0 may exist. */
function earlierIdentity(received: CertUpdate): Identity["earlier"] {
  const { fingerprintSha1, asDerBase64, updateType } = received;
  const tbs = asDerBase64 === null ? null : tbsSha256(Buffer.from(asDerBase64, "base64"));
  if (fingerprintSha1 !== null) return { key: `sha1:${fingerprintSha1}`, tbsSha256: tbs };
  if (tbs !== null) return { key: `tbs:${tbs}`, tbsSha256: tbs };
  const kind = updateType === precertificateUpdateType ? "precertificate" : "final";
  return { key: `issuance:${issuanceIdOf(received)}:${kind}`, tbsSha256: null };
}

/**
 * The CN counts as a name here whether it is a SAN or not: servers append it to the names, and without DER nobody can
 * tell.
 */
function serialKeyOf(update: CertUpdate): string | null {
  const { notBeforeEpochSeconds, notAfterEpochSeconds, allDomains, subjectCn } = update;
  const serial = normalizeSerial(update.serial);
  if (serial === null || notBeforeEpochSeconds === null || notAfterEpochSeconds === null) return null;
  const budget = conversionBudget();
  const names = [...allDomains, ...(subjectCn === null ? [] : [subjectCn])];
  const distinct = new Set(names.map((name) => normalName(name, budget)));
  return sha256Of([serial, notBeforeEpochSeconds, notAfterEpochSeconds, [...distinct].sort()]);
}

/**
 * Returns the SHA-256 over the fields that are the same in a precertificate and its final certificate, and that all
 * servers write alike. An empty field counts as an absent field.
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
  return sha256Of(parts);
}

const sha256Of = (parts: unknown[]) => createHash("sha256").update(JSON.stringify(parts)).digest("hex");
