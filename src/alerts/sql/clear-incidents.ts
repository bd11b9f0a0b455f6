import { toJson } from "../../db/json.ts";
import type { Database } from "../../db/pool.ts";
import type { JudgedCertificate } from "../outbox.ts";
import { exposed } from "./expose-copies.ts";
import { incidentKeyOf, notAfterOf } from "./expressions.ts";

/** An open incident whose certificate the inventory has by now. */
export interface Clearance {
  /** The `suspicious` event. */
  id: number;
  /** After a failover that lost commits, the same id may be another event's. */
  issuance_id: string;
  match_basis: string;
  reason: string;
  /** The inventory row that has it by now, and its TBS hash: see `Verdict`. */
  inventory_row: string | null;
  row_tbs_sha256: string | null;
}

/**
 * Closes incidents, each by an all-clear of its own: an `info` event with the incident's key, in one statement. The
 * all-clear is to be delivered where the page was (not in observer mode). Safe to run twice and from two replicas: a
 * closed incident is passed over, and one that somebody else has locked. A crash before the commit leaves the incidents
 * open, for the next look; after it the all-clears are due for delivery.
 *
 * @returns the all-clears, and the `suspicious` events of copies that are exposed by them.
 */
export async function clearIncidents(
  db: Database,
  clearances: Clearance[],
  options: { deliver: boolean; deadlineMs: number },
): Promise<JudgedCertificate[]> {
  const rows = await db.query<Omit<JudgedCertificate, "delivery">>(
    {
      name: "clear incidents",
      text: `
        WITH open AS (
          SELECT e.*, v.match_basis AS new_basis, v.reason AS new_reason, v.inventory_row, v.row_tbs_sha256,
                 COALESCE(e.incident_key, ${incidentKeyOf("e")}) AS key
          FROM pg_catalog.json_to_recordset($1::json) AS v(id bigint, issuance_id text, match_basis text, reason text,
                                                 inventory_row text, row_tbs_sha256 text)
          JOIN public.alerts e ON e.id = v.id AND e.issuance_id = v.issuance_id
                              AND e.severity = 'suspicious' AND e.cleared_at IS NULL
          FOR UPDATE OF e SKIP LOCKED
        ), cleared AS (
          INSERT INTO public.alerts (fingerprint, sans, matched, issuer, seen_at, severity, issuance_id, certificate_key,
                                     tbs_sha256, der_state, serial_key, excuse_key, excuse_until, event_number,
                                     payload, row_bytes, recorded_at, match_basis, reason, event_type, incident_key,
                                     next_attempt_at)
          SELECT o.fingerprint, o.sans, o.matched, o.issuer, o.seen_at, 'info', o.issuance_id,
                 o.certificate_key || ':cleared', COALESCE(o.tbs_sha256, o.row_tbs_sha256), o.der_state, o.serial_key,
                 CASE WHEN NOT EXISTS (SELECT FROM public.alerts holder WHERE holder.excuse_key = o.serial_key)
                      THEN o.serial_key END,
                 ${notAfterOf("o")},
                 (SELECT COALESCE(pg_catalog.max(event.event_number) + 1, 0) FROM public.alerts event
                  WHERE event.issuance_id = o.issuance_id AND event.severity = 'info'),
                 o.payload, o.row_bytes, pg_catalog.now(), o.new_basis, o.new_reason, 'certificate.cleared', o.key,
                 CASE WHEN $2::boolean AND (o.delivered OR o.next_attempt_at IS NOT NULL OR o.given_up_at IS NOT NULL)
                      THEN pg_catalog.now() END
          FROM open o
          -- Two incidents of one issuance would get one event number, and two with one serial number one excuse: the
          -- second is closed by the next look.
          WHERE o.id = (SELECT pg_catalog.min(first.id) FROM open first
                        WHERE first.issuance_id = o.issuance_id OR first.serial_key = o.serial_key)
          ON CONFLICT (certificate_key) DO NOTHING
          RETURNING id, incident_key, match_basis, reason
        ), closed AS (
          UPDATE public.alerts e
          -- As in the statement that judges: from now on nothing with another TBS hash merges into it.
          SET cleared_at = pg_catalog.now(), incident_key = o.key,
              tbs_sha256 = COALESCE(e.tbs_sha256, o.row_tbs_sha256)
          FROM open o JOIN cleared c ON c.incident_key = o.key
          WHERE e.id = o.id
        ), recognised AS (
          SELECT o.issuance_id, o.serial_key, o.inventory_row, o.new_basis AS match_basis, o.tbs_sha256, o.der_state
          FROM open o JOIN cleared c ON c.incident_key = o.key
        ), exposed AS (${exposed("recognised", "$2::boolean")})
        SELECT c.id, 'info' AS severity, 'certificate.cleared' AS "eventType", true AS "isEvent",
               c.match_basis AS "matchBasis", c.reason, o.matched AS "matchedEntries",
               o.payload -> 'matched_sans'::text AS "matchedSans", o.issuer, o.id AS clears
        FROM cleared c JOIN open o ON o.key = c.incident_key
        UNION ALL
        SELECT id, severity, 'certificate.escalated', true, match_basis, reason, matched, payload -> 'matched_sans'::text,
               issuer, NULL FROM exposed`,
      values: [toJson(clearances), options.deliver],
    },
    options.deadlineMs,
  );
  return rows.map((row) => ({ ...row, delivery: null }));
}
