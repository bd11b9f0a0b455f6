/** A certificate that waits for its verdict, with all that the verdict depends on. */
export interface PendingCertificate {
  id: number;
  issuanceId: string;
  /** 40 hex digits, or empty. */
  fingerprint: string;
  tbsSha256: string | null;
  sans: string[];
  subjectCn: string | null;
  serial: string | null;
  notBefore: number | null;
  notAfter: number | null;
  updateType: string | null;
}
