import type { DerState } from "../issuance/pending.ts";
import type { EventType, RecordedPayload, Severity } from "./payload.ts";

// The types of the outbox, in the order in which a row of public.alerts lives. docs/architecture.md has the picture.
//
//   recorded    CertificateRow     severity = 'pending', judge_at = the end of the grace
//   pending     PendingCertificate (issuance/pending.ts) as it is read back, to be judged
//   judged      Verdict            severity = 'info' or 'suspicious' for good: the row is an event; or
//   merged      JudgedCertificate  its issuance has that event already: the row is gone, its key is in merged_keys
//   due         next_attempt_at is set, nobody holds a lease
//   leased      Delivery           lease_until is ahead: one process may post the event
//   postponed   Outcome            the receiver said "later": due again, and postponed_since says since when
//   delivered   Outcome            delivered = true
//   given up    Outcome            given_up_at is set, next_attempt_at is null
//   observed    recorded without WEBHOOK_URL: next_attempt_at is null from the start
//   pruned      older than the retention, and without work left: deleted

/** A matched certificate on its way into the outbox. */
export interface CertificateRow {
  /** See `Identity`, as the four below. */
  certificate_key: string;
  other_keys: string[];
  earlier_key: string;
  earlier_tbs_sha256: string | null;
  issuance_id: string;
  tbs_sha256: string | null;
  der_state: DerState | null;
  serial_key: string | null;
  /** The certificate, base64; `null` without DER, and if it is larger than 64 kB. */
  der: string | null;
  /** 40 hex digits, or empty. */
  fingerprint: string;
  sans: string[];
  matched: string[];
  issuer: string | null;
  seen_at: number;
  /**
   * Cut so that its webhook body fits into 1 MiB; `sans` and `matched` are whole. Incomplete in a row that was stripped
   * to its names.
   */
  payload: Partial<RecordedPayload>;
  /** About what the row takes in memory, bytes. */
  row_bytes: number;
  /** Why the row is incomplete, if it is. */
  last_error: string | null;
}

/** A certificate that is in the outbox since the statement that returns this. */
export interface RecordedCertificate {
  id: number;
  certificateKey: string;
}

/** What a certificate turned out to be. Commits as an event, or merges into one. */
export interface Verdict {
  id: number;
  /** After a failover that lost commits, the same id may be another certificate's. */
  issuance_id: string;
  /** About what the row takes in memory, bytes. */
  row_bytes: number;
  severity: Severity;
  match_basis: string;
  /**
   * The inventory row (`fingerprint_sha1`) that recognised it; `null` also if its issuance is certain to be one's own,
   * so that no excuse is used up.
   */
  inventory_row: string | null;
  /**
   * True for a static-ct precertificate without DER: it belongs to what an `info` event with DER of its issuance says.
   * See `verdictOf`.
   */
  follows_known: boolean;
  reason: string;
  /** The reason to give where the event escalates a known issuance, or closes an open incident. */
  reason_after_other: string;
  /** The TBS hash of the inventory row that recognised the certificate: it stands in for a certificate without DER. */
  row_tbs_sha256: string | null;
  /** Open incidents of the issuance whose certificates, without TBS hash, would be recognised by now: ids. */
  closable: number[];
}

/** A verdict to commit. */
export interface Judgement extends Verdict {
  /** Whether this process claims the event in the same statement, if it becomes one that is to be delivered. */
  claim: boolean;
}

/** A verdict that is committed. */
export interface JudgedCertificate {
  id: number;
  severity: Severity;
  eventType: EventType;
  /** False: the certificate was merged into the event of this severity that its issuance has; its row is gone. */
  isEvent: boolean;
  matchBasis: string;
  reason: string;
  matchedEntries: string[];
  matchedSans: string[];
  issuer: string | null;
  /** In an all-clear by the second look: the `suspicious` event that it closes. */
  clears?: number | null;
  /** Set for an event that this process claimed in the same statement. */
  delivery: Delivery | null;
}

/** An event to deliver. This process holds it until the lease ends. */
export interface Delivery {
  id: number;
  /** Names the claim: the end of the lease, in ISO 8601 whatever the server's DateStyle. */
  lease: string;
  /** About what the event takes in memory. */
  bytes: number;
  /** Attempts made before this one. */
  attempts: number;
  severity: Severity;
  /** `null` for an event of version 0.1.0. */
  eventType: EventType | null;
  /** The incident that the event opens or closes; `null`: none. */
  incidentKey: string | null;
  issuanceId: string;
  matchBasis: string;
  reason: string;
  /**
   * Seconds since the receiver first answered "later" to it; `null`: its last answer was another, or there was none.
   */
  postponedSeconds: number | null;
  /** As it was recorded, less what only the verdict needs. */
  payload: Partial<RecordedPayload>;
}

/** How an attempt ended. */
export interface Outcome {
  id: number;
  /** After a failover that lost commits, the same id may be another event's. */
  issuance_id: string;
  /** The lease of the claim under which the attempt was made. */
  lease: string;
  delivered: boolean;
  /** Why not. */
  error: string | null;
  /** The receiver answered "later" (429, or 503 with `Retry-After`): this was no attempt. */
  postponed: boolean;
  /** Seconds until the next attempt; `null` after a success, and after a failure that was the last. */
  retry_after_seconds: number | null;
}
