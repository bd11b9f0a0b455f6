/**
 * What the feed sent as the certificate's DER: `read`, one certificate; `unreadable`, a certificate without a TBS hash that
 * certwatch can read; `junk`, no certificate.
 */
export type DerState = "read" | "unreadable" | "junk";

/** A certificate that waits for its verdict, with all that the verdict depends on. */
export interface PendingCertificate {
  id: number;
  issuanceId: string;
  /** SHA-1: of the DER where there is one, else as the feed claims. 40 hex digits, or empty. */
  fingerprint: string;
  /** Of the DER; a stand-in that equals nothing unless `derState` is `read`; `null` without DER. */
  tbsSha256: string | null;
  /** `null`: the feed sent no DER. */
  derState: DerState | null;
  /** All names, a CN that servers appended included. */
  sans: string[];
  /** The names of the DER, where `sans` has the CN beside them; else `null`. */
  dnsNames: string[] | null;
  subjectCn: string | null;
  /** Whether a watch entry covers the CN. */
  isCnWatched: boolean;
  serial: string | null;
  notBefore: number | null;
  notAfter: number | null;
  updateType: string | null;
}
