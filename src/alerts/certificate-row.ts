import type { CertUpdate } from "../feed/message.ts";
import type { DerReading } from "../issuance/certificate.ts";
import type { Evidence } from "../issuance/evidence.ts";
import { identify } from "../issuance/identity.ts";
import type { PendingCertificate } from "../issuance/pending.ts";
import type { Match } from "../watchlist/matcher.ts";
import { fitRecordedPayload } from "./fit-payload.ts";
import type { CertificateRow } from "./outbox.ts";
import { toRecordedPayload } from "./payload.ts";

/** A certificate with 2,000 names has 60 kB. */
const maxDerBytes = 65_536;

/**
 * A matched certificate as it is recorded.
 *
 * @param received the message as it came, `evidence` what it is evidence of.
 */
export function toCertificateRow(received: CertUpdate, evidence: Evidence, match: Match): CertificateRow {
  const { issuanceId, certificateKey, otherKeys, tbsSha256, serialKey, earlier } = identify(
    received,
    evidence,
  );
  const { update, reading } = evidence;
  const seenAt = Math.floor(update.seenEpochSeconds ?? Date.now() / 1000);
  const row = {
    certificate_key: certificateKey,
    other_keys: otherKeys,
    earlier_key: earlier.key,
    earlier_tbs_sha256: earlier.tbsSha256,
    issuance_id: issuanceId,
    der_state: reading?.state ?? null,
    serial_key: serialKey,
    der: derToKeep(received, reading),
    tbs_sha256: tbsSha256,
    fingerprint: update.fingerprintSha1 ?? "",
    sans: update.allDomains,
    matched: match.entries,
    issuer: update.issuerAggregated ?? update.issuerO ?? update.issuerCn,
    seen_at: seenAt,
    payload: fitRecordedPayload(toRecordedPayload(evidence, match, seenAt)),
    last_error: null,
  };
  return { ...row, row_bytes: approximateBytes(row) };
}

/** The DER in base64, if it is a certificate and not too large to be kept. */
function derToKeep({ asDerBase64 }: CertUpdate, reading: DerReading | null): string | null {
  if (asDerBase64 === null || reading === null || reading.state === "junk") return null;
  const der = Buffer.from(asDerBase64, "base64");
  return der.length <= maxDerBytes ? der.toString("base64") : null;
}

/** A recorded row as `dueCertificates` would read it back. */
export function toPending(id: number, row: CertificateRow): PendingCertificate {
  const { payload } = row;
  return {
    id,
    rowBytes: row.row_bytes,
    issuanceId: row.issuance_id,
    fingerprint: row.fingerprint,
    tbsSha256: row.tbs_sha256,
    derState: row.der_state,
    sans: row.sans,
    dnsNames: payload.is_cn_appended ? row.sans.slice(0, -1) : null,
    subjectCn: payload.subject_cn ?? null,
    isCnWatched: payload.is_cn_watched ?? false,
    serial: payload.serial ?? null,
    serialKey: row.serial_key,
    notBefore: payload.not_before ?? null,
    notAfter: payload.not_after ?? null,
    updateType: payload.update_type ?? null,
    seenAt: row.seen_at,
  };
}

/** The row with its names alone, as ASCII: for a database that refuses the rest. `reason` says why. */
export function stripped(row: CertificateRow, reason: string): CertificateRow {
  const ascii = (names: string[]) => names.map((name) => name.replaceAll(/[^\x20-\x7e]/g, "?"));
  const sans = ascii(row.sans);
  const names = { matched_entries: row.matched, matched_sans: sans, all_sans: sans, names_truncated: 0 };
  const payload = fitRecordedPayload({ ...names, seen_at: row.seen_at });
  return { ...row, sans, issuer: null, payload, last_error: `stored with its names only: ${reason}` };
}

/**
 * Returns how much memory a row takes, while it waits or when it is read back: bytes. An upper estimate that costs
 * nothing: two bytes a character, and what V8 needs around them. Measured on Node.js 20, a certificate with one name
 * takes 1.3 kB, with a hundred 7.8 kB.
 */
function approximateBytes(row: Omit<CertificateRow, "row_bytes">): number {
  let bytes = 1_200 + 2 * (row.issuer?.length ?? 0);
  for (const names of [row.sans, row.matched]) for (const name of names) bytes += 2 * name.length + 64;
  for (const value of Object.values(row.payload)) bytes += typeof value === "string" ? 2 * value.length : 0;
  return bytes;
}
