import type { CertUpdate } from "../feed/message.ts";
import type { DerReading } from "../issuance/certificate.ts";
import type { Evidence } from "../issuance/evidence.ts";
import type { Match } from "../watchlist/matcher.ts";

/** `info`: the certificate is one's own. `suspicious`: nothing in the inventory belongs to it. */
export type Severity = "info" | "suspicious";

/**
 * What an event does: `suspicious` opens an incident; `escalated` opens one for an issuance that was reported as known;
 * `cleared` closes an incident; `known` needs no action.
 */
export type EventType =
  | "certificate.suspicious"
  | "certificate.escalated"
  | "certificate.cleared"
  | "certificate.known";

/** What a webhook receives, as JSON. Absent values are `null`, never missing. Times are epoch seconds. */
export interface Payload extends RecordedFields {
  severity: Severity;
  /** The row in `alerts`. */
  alert_id: number;
  issuance_id: string;
  /** How it was found in the inventory: `fingerprint`, `tbs`, `serial` or `none`. */
  match_basis: string;
  /** The verdict in one English sentence. */
  reason: string;
  type: EventType;
  /** `alerting` opens the incident of `incident_key`, `ok` closes it or opens none. */
  state: "alerting" | "ok";
  /** The same in the page and in the all-clear that closes its incident; `null` where there is no incident. */
  incident_key: string | null;
}

/** The fields that are known when a certificate is recorded, and those that its verdict will need. */
export interface RecordedPayload extends RecordedFields {
  /** Not sent. The verdict compares the names with the inventory's. */
  subject_cn: string | null;
  /** Not sent. Whether a watch entry covers the CN. */
  is_cn_watched: boolean;
  /** Not sent. Whether the last of the certificate's names is the CN, which its DER does not have among the names. */
  is_cn_appended: boolean;
}

interface RecordedFields {
  /** Lower-case hex. */
  fingerprint_sha1: string | null;
  /** Sorted, unique. */
  matched_entries: string[];
  /** Sorted, unique, as the certificate has them. */
  matched_sans: string[];
  all_sans: string[];
  issuer_o: string | null;
  issuer_cn: string | null;
  not_before: number | null;
  not_after: number | null;
  lifetime_days: number | null;
  source_log: string | null;
  cert_link: string | null;
  serial: string | null;
  update_type: string | null;
  seen_at: number;
  /**
   * How many names are missing above: matched ones beyond the bounds of a match, or any that made the body too large.
   */
  names_truncated: number;
}

/** @param seenAt when the feed saw the certificate, or when it was received; epoch seconds. */
export function toRecordedPayload(
  { update, reading }: Evidence,
  match: Match,
  seenAt: number,
): RecordedPayload {
  const { notBeforeEpochSeconds: notBefore, notAfterEpochSeconds: notAfter } = update;
  return {
    fingerprint_sha1: update.fingerprintSha1,
    matched_entries: match.entries,
    matched_sans: match.sans,
    all_sans: update.allDomains,
    issuer_o: update.issuerO,
    issuer_cn: update.issuerCn,
    not_before: notBefore,
    not_after: notAfter,
    lifetime_days: notBefore === null || notAfter === null ? null : lifetimeDays(notBefore, notAfter),
    source_log: update.sourceName,
    cert_link: update.certLink,
    serial: update.serial,
    update_type: update.updateType,
    seen_at: seenAt,
    names_truncated: match.namesTruncated,
    subject_cn: update.subjectCn,
    is_cn_watched: isCnWatched(update, match),
    is_cn_appended: isCnAppended(reading),
  };
}

/** In doubt, where the list of matched names is not whole, the CN counts as watched: then it is not ignored. */
function isCnWatched({ subjectCn }: CertUpdate, { sans, namesTruncated }: Match): boolean {
  if (subjectCn === null) return false;
  return namesTruncated > 0 || subjectCn.length > maxWholeNameChars || sans.includes(subjectCn);
}

/** A longer name may stand in a match by its end alone. */
const maxWholeNameChars = 1_000;

function isCnAppended(reading: DerReading | null): boolean {
  if (reading?.state !== "read") return false;
  const { dnsNames, allDomains } = reading.certificate;
  return dnsNames.length < allDomains.length;
}

function lifetimeDays(notBeforeEpochSeconds: number, notAfterEpochSeconds: number): number {
  return Math.round(((notAfterEpochSeconds - notBeforeEpochSeconds) / 86_400) * 100) / 100;
}

/** For a row that was stored with its names alone. */
const unknown: RecordedFields = {
  fingerprint_sha1: null,
  matched_entries: [],
  matched_sans: [],
  all_sans: [],
  issuer_o: null,
  issuer_cn: null,
  not_before: null,
  not_after: null,
  lifetime_days: null,
  source_log: null,
  cert_link: null,
  serial: null,
  update_type: null,
  seen_at: 0,
  names_truncated: 0,
};

/** Makes the webhook's body. Its fields are in the documented order; JSONB does not keep an order. */
export function toPayload(alert: {
  id: number;
  severity: Severity;
  eventType: EventType | null;
  incidentKey: string | null;
  issuanceId: string;
  matchBasis: string;
  reason: string;
  payload: Partial<RecordedPayload>;
}): Payload {
  const recorded = { ...unknown, ...alert.payload };
  return {
    fingerprint_sha1: recorded.fingerprint_sha1,
    severity: alert.severity,
    matched_entries: recorded.matched_entries,
    matched_sans: recorded.matched_sans,
    all_sans: recorded.all_sans,
    issuer_o: recorded.issuer_o,
    issuer_cn: recorded.issuer_cn,
    not_before: recorded.not_before,
    not_after: recorded.not_after,
    lifetime_days: recorded.lifetime_days,
    source_log: recorded.source_log,
    cert_link: recorded.cert_link,
    serial: recorded.serial,
    update_type: recorded.update_type,
    seen_at: recorded.seen_at,
    alert_id: alert.id,
    issuance_id: alert.issuanceId,
    match_basis: alert.matchBasis,
    reason: alert.reason,
    type: alert.eventType ?? (alert.severity === "info" ? "certificate.known" : "certificate.suspicious"),
    state: alert.severity === "info" ? "ok" : "alerting",
    incident_key: alert.incidentKey,
    names_truncated: recorded.names_truncated,
  };
}
