import { toJson } from "../../db/json.ts";
import type { Database } from "../../db/pool.ts";
import type { CertificateRow, RecordedCertificate } from "../outbox.ts";

/**
 * How many rows of one issuance and severity are looked at for each certificate. Honest issuances have a handful. A feed that
 * makes thousands of rows of one issuance must not make each statement walk over all of them. What is overlooked is judged,
 * and merged then.
 */
const maxRelatives = 100;

/** SQL: the first rows of the issuance of `r`, by the index `alerts_event`. */
const relatives = (severity: string) => `(
  SELECT a.certificate_key, a.merged_keys, a.der_state, a.tbs_sha256 FROM public.alerts a
  WHERE a.issuance_id = r.issuance_id AND a.severity = '${severity}'
  ORDER BY a.event_number LIMIT ${maxRelatives})`;

/**
 * Puts certificates into the outbox as `pending`, in one statement. It passes over a certificate that is there already,
 * or that was merged into an event of its issuance, and returns only the new ones. Safe to run twice and from two
 * replicas (unique `certificate_key`). A crash after the commit loses nothing: any replica judges the rows when their
 * grace is over.
 *
 * @param deliver false in observer mode: the rows are never sent.
 */
export async function recordCertificates(
  db: Database,
  rows: CertificateRow[],
  options: { graceSeconds: number; deliver: boolean; deadlineMs: number },
): Promise<RecordedCertificate[]> {
  return await db.query<RecordedCertificate>(
    {
      name: "record certificates",
      text: `
        INSERT INTO public.alerts (certificate_key, merged_keys, issuance_id, tbs_sha256, der_state, serial_key, der, fingerprint,
                                   sans, matched, issuer, seen_at, payload, row_bytes, last_error, severity, recorded_at, judge_at, next_attempt_at)
        SELECT r.certificate_key, r.other_keys, r.issuance_id, r.tbs_sha256, r.der_state, r.serial_key,
               pg_catalog.decode(r.der, 'base64'), r.fingerprint,
               r.sans, r.matched, r.issuer,
               -- A feed's clock that runs ahead must not keep the row from being pruned.
               CASE WHEN r.seen_at > EXTRACT(EPOCH FROM pg_catalog.now())::bigint + 3600
                    THEN EXTRACT(EPOCH FROM pg_catalog.now())::bigint ELSE r.seen_at END,
               r.payload, LEAST(r.row_bytes, 2147483647)::integer, r.last_error, 'pending', pg_catalog.now(),
               -- Two messages that are one certificate have one grace: the first one's. OFFSET 0 keeps Postgres from looking
               -- for the smallest judge_at among all pending rows.
               LEAST(pg_catalog.now() + $2::float8 * interval '1 second',
                     (SELECT pg_catalog.min(twin.judge_at)
                      FROM (SELECT a.judge_at, a.issuance_id, a.severity FROM public.alerts a
                            WHERE a.certificate_key = ANY (r.other_keys) OFFSET 0) AS twin
                      WHERE twin.issuance_id = r.issuance_id AND twin.severity = 'pending')),
               CASE WHEN $3::boolean THEN pg_catalog.now() END
        FROM pg_catalog.json_to_recordset($1::json) AS r(certificate_key text, other_keys text[], earlier_key text,
               earlier_tbs_sha256 text, issuance_id text, tbs_sha256 text, der_state text, serial_key text, der text,
               fingerprint text,
               sans jsonb, matched jsonb, issuer text, seen_at bigint, payload jsonb, row_bytes bigint, last_error text)
        -- merged_keys has the keys of what was merged, and the other keys of the certificates: a message without DER
        -- whose claim fits a certificate that came with its DER is that certificate.
        WHERE NOT EXISTS (SELECT FROM (${relatives("suspicious")} UNION ALL ${relatives("info")}
                                       UNION ALL ${relatives("pending")}) AS event
                          WHERE r.certificate_key = ANY (event.merged_keys)
                             OR (r.earlier_key = event.certificate_key OR r.earlier_key = ANY (event.merged_keys))
                                AND event.der_state IS NULL AND r.der_state IS NOT NULL
                                AND event.tbs_sha256 IS NOT DISTINCT FROM r.earlier_tbs_sha256)
          -- ON CONFLICT alone would wait for a transaction that is changing the row.
          AND NOT EXISTS (SELECT FROM public.alerts known WHERE known.certificate_key = r.certificate_key)
        -- All replicas insert in the same order, so that two of them never wait for each other.
        ORDER BY r.certificate_key
        ON CONFLICT (certificate_key) DO NOTHING
        RETURNING id, certificate_key AS "certificateKey"`,
      values: [toJson(rows), options.graceSeconds, options.deliver],
    },
    options.deadlineMs,
  );
}
