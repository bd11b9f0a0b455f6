import { incidentKeyOf, sameCertificateBody } from "./expressions.ts";

/** The reason of the late event for a copy that was excused before its original was seen. */
const reason =
  "Escalation: this was recognised by serial number, validity and names of a certificate in the inventory, but that certificate is of another issuance, which was seen since: this one is not yours.";

/**
 * SQL of the last part of a statement that recognises certificates. If one of them is recognised by fingerprint or TBS
 * hash, and another issuance holds the excuse by its serial number, that other one was a copy that came before the
 * original: it gets a `suspicious` event of its own.
 *
 * @param recognised a table of the statement with `issuance_id`, `serial_key`, `inventory_row`, `match_basis`,
 * `tbs_sha256` and `der_state` of the certificates.
 * @param deliver SQL: whether the event is to be delivered.
 */
export const exposed = (recognised: string, deliver: string) => `
    INSERT INTO public.alerts (fingerprint, sans, matched, issuer, seen_at, severity, issuance_id, certificate_key,
                               tbs_sha256, der_state, event_number, payload, row_bytes, recorded_at, match_basis, reason,
                               next_attempt_at, event_type, incident_key)
    SELECT holder.fingerprint, holder.sans, holder.matched, holder.issuer, holder.seen_at, 'suspicious',
           holder.issuance_id, holder.certificate_key || ':exposed', holder.tbs_sha256, holder.der_state,
           (SELECT COALESCE(pg_catalog.max(event.event_number) + 1, 0) FROM public.alerts event
            WHERE event.issuance_id = holder.issuance_id AND event.severity = 'suspicious'),
           -- The payload goes at the retention, while the excuse lasts longer.
           COALESCE(holder.payload,
                    pg_catalog.jsonb_build_object('matched_entries', holder.matched, 'matched_sans', holder.sans,
                                       'all_sans', holder.sans, 'seen_at', holder.seen_at,
                                       'fingerprint_sha1', NULLIF(holder.fingerprint, ''))),
           CASE WHEN holder.payload IS NOT NULL THEN holder.row_bytes END,
           pg_catalog.now(), 'none', '${reason}', CASE WHEN ${deliver} THEN pg_catalog.now() END, 'certificate.escalated',
           ${incidentKeyOf("holder", "':exposed'")}
    FROM (SELECT DISTINCT ON (holder.id) holder.*
          FROM ${recognised} j
          CROSS JOIN LATERAL (SELECT h.id FROM public.alerts h WHERE h.excuse_key = j.serial_key
                              UNION SELECT h.id FROM public.alerts h WHERE h.excused_by = j.inventory_row) AS found
          JOIN public.alerts holder ON holder.id = found.id
               AND holder.match_basis = 'serial'
          WHERE j.match_basis IN ('fingerprint', 'tbs')
            AND (holder.issuance_id <> j.issuance_id OR NOT ${sameCertificateBody("holder", "j")})) AS holder
    WHERE NOT EXISTS (SELECT FROM public.alerts event
                      WHERE event.issuance_id = holder.issuance_id AND event.severity = 'suspicious'
                        AND ${sameCertificateBody("event", "holder")})
    ON CONFLICT (certificate_key) DO NOTHING
    RETURNING id, severity, match_basis, reason, matched, payload, issuer`;
