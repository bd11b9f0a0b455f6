/**
 * The state of the DER that the feed sent: `read` (exactly one certificate), `unreadable` (a certificate from which
 * certwatch can read no TBS hash) or `junk` (no certificate).
 */
export type DerState = "read" | "unreadable" | "junk";

/** A certificate that waits for its verdict, with all the data that the verdict depends on. */
export interface PendingCertificate {
  id: number;
  /** About what this takes in memory, bytes. */
  rowBytes: number;
  issuanceId: string;
  /** SHA-1 of the DER; without DER, the SHA-1 that the feed claims. 40 hex digits; empty if there is neither. */
  fingerprint: string;
  /** The TBS hash of the DER; `null` without DER. Unless `derState` is `read`, a hash that equals no TBS hash. */
  tbsSha256: string | null;
  /** The state of the DER; `null` if the feed sent none. */
  derState: DerState | null;
  /** All names, including a CN that the server appended. */
  sans: string[];
  /** The dNSNames of the DER if `sans` also has the CN; otherwise `null`. */
  dnsNames: string[] | null;
  subjectCn: string | null;
  /** Whether a watch entry covers the CN. */
  isCnWatched: boolean;
  serial: string | null;
  /** See `Identity`. `null` also in a row of version 0.1.0. */
  serialKey: string | null;
  notBefore: number | null;
  notAfter: number | null;
  updateType: string | null;
  /** When the feed saw it, epoch seconds; never later than its recording. */
  seenAt: number;
}
