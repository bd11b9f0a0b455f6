import { sqlState, violatedConstraint } from "../../db/errors.ts";
import { toJson } from "../../db/json.ts";
import type { Database } from "../../db/pool.ts";
import type { Delivery, JudgedCertificate, Judgement } from "../outbox.ts";
import { exposed } from "./expose-copies.ts";
import { incidentKeyOf, notAfterOf, sameCertificateBody } from "./expressions.ts";
import { eventBytesOf } from "./row-bytes.ts";

/** A row of the answer. The fields of `delivery` stand beside the others. */
type Row = Omit<JudgedCertificate, "delivery"> &
  Pick<Delivery, "attempts" | "issuanceId" | "incidentKey" | "payload" | "bytes"> & { lease: string | null };

/**
 * Commits verdicts in one statement. Each pending certificate becomes an event, or merges into the event that its
 * issuance already has with this severity; a recognised one closes the open incident that it may close. Two
 * certificates of one issuance whose TBS hashes are known and differ never merge. When a certificate is recognised by
 * fingerprint or TBS hash, and its inventory row has excused another issuance by serial number, that other one gets a
 * `suspicious` event: it was a copy that came before the original.
 *
 * The verdicts of one call must be of distinct issuances. The statement passes over a certificate that somebody else
 * has judged meanwhile, so it is safe to run twice. It also passes over a certificate if somebody else has locked its
 * row, or the row of the event to merge into: the certificate stays pending, and no other one waits for it.
 *
 * It fails with SQLSTATE 23505 (`alerts_event`, `alerts_excuse_key`, `alerts_excused_by`) or 40P01 when another replica
 * judges the same issuance, or uses the same inventory row, at the same moment. Look the certificates up again and
 * repeat: the other's event is then visible.
 *
 * A crash before the commit leaves the rows pending, due for any replica. A crash after it leaves events due for
 * delivery; events that were claimed are due when their lease of `leaseSeconds` is over.
 */
export async function judgeCertificates(
  db: Database,
  verdicts: Judgement[],
  options: { deliver: boolean; leaseSeconds: number; deadlineMs: number },
): Promise<JudgedCertificate[]> {
  const rows = await db.query<Row>(
    {
      name: "judge certificates",
      text: statement,
      values: [toJson(verdicts), options.deliver, options.leaseSeconds],
    },
    options.deadlineMs,
  );
  return rows.map(({ lease, attempts, issuanceId, incidentKey, payload, bytes, ...judged }) => {
    const { id, severity, eventType, matchBasis, reason } = judged;
    const event = { id, severity, eventType, incidentKey, matchBasis, reason, issuanceId, payload, bytes };
    const delivery = { ...event, lease: lease ?? "", attempts, postponedSeconds: null };
    return { ...judged, delivery: lease === null ? null : delivery };
  });
}

/** The unique indexes by which two replicas see that they decide the same. */
const raceIndexes = ["alerts_event", "alerts_excuse_key", "alerts_excused_by", "alerts_certificate_key"];

/** Returns whether another replica judged one of these issuances, or took one of these excuses, at the same moment. */
export function isLostRace(error: unknown): boolean {
  const isDeadlock = sqlState(error) === "40P01";
  return isDeadlock || raceIndexes.includes(violatedConstraint(error) ?? "");
}

/**
 * How many merged certificates one event remembers. Honest issuances have a handful. A certificate above the limit is
 * judged, and merged, each time it is seen.
 */
const maxMergedKeys = 1000;

/** Whether the pending certificate is one of the event's: its key is among those that the event remembers. */
const isTheCertificateOf = (event: string, pending: string) =>
  `COALESCE(${pending}.certificate_key = ANY (${event}.merged_keys), false)`;

/**
 * Whether the pending certificate may be one of the event's. An incident that is closed takes nothing more without proof: a
 * copy that comes after the original's all-clear, with no TBS hash to compare, must not hide in it.
 */
const mayMerge = (event: string, pending: string) =>
  `${sameCertificateBody(event, pending)}
   AND (${event}.cleared_at IS NULL OR ${event}.tbs_sha256 = ${pending}.tbs_sha256)`;

/**
 * Whether a recognised certificate closes this open incident: both have the same TBS hash. Where the incident's
 * certificate has none, it has to be the same certificate, or one that would be recognised by now, or a static-ct
 * precertificate without DER and fingerprint, of which nothing but the issuance is known.
 */
const closableBy = (event: string, pending: string) => `
  ${event}.severity = 'suspicious' AND ${event}.event_number IS NOT NULL AND ${event}.cleared_at IS NULL
  AND (${event}.tbs_sha256 = COALESCE(${pending}.tbs_sha256, v.row_tbs_sha256) AND COALESCE(${event}.der_state, 'read') = 'read'
       OR ${event}.tbs_sha256 IS NULL
          AND (${event}.id = ANY (v.closable) OR ${event}.certificate_key = ANY (${pending}.merged_keys)
               OR ${pending}.der_state = 'read' AND ${event}.der_state IS NULL AND ${event}.fingerprint = ''
                  AND ${event}.payload ->> 'update_type'::text = 'PrecertLogEntry'))`;

const statement = `
  WITH judged AS (
    SELECT v.*, pending.certificate_key, pending.merged_keys AS other_keys, pending.tbs_sha256, pending.der_state,
           pending.matched, pending.serial_key, pending.payload, pending.issuer,
           pending.next_attempt_at IS NOT NULL
             OR $2::boolean AND pending.recorded_at > pg_catalog.now() - interval '1 hour' AS is_to_deliver,
      -- A fingerprint or TBS match stands even if another issuance holds the row's excuse; excused_by, which is unique,
      -- then stays NULL.
      CASE WHEN v.match_basis = 'serial'
             OR NOT EXISTS (SELECT FROM public.alerts holder WHERE holder.excused_by = v.inventory_row)
           THEN v.inventory_row END AS excused_by,
      -- Another issuance that took the excuse since the lookup makes the statement fail: excuse_key is unique.
      CASE WHEN v.severity = 'info' AND NOT EXISTS (
                  SELECT FROM public.alerts holder
                  WHERE holder.excuse_key = pending.serial_key
                    AND (v.match_basis <> 'serial' OR holder.issuance_id = pending.issuance_id))
             AND (v.match_basis <> 'serial' OR v.inventory_row IS NOT NULL)
           THEN pending.serial_key END AS excuse_key,
      (SELECT event.id FROM public.alerts event
       WHERE event.issuance_id = pending.issuance_id AND event.event_number IS NOT NULL AND incident.id IS NULL
         AND (${isTheCertificateOf("event", "pending")}
              OR v.follows_known AND event.severity = 'info' AND event.der_state = 'read'
              OR event.severity = v.severity AND ${mayMerge("event", "pending")})
       ORDER BY ${isTheCertificateOf("event", "pending")} DESC, event.severity = v.severity DESC, event.event_number
       LIMIT 1) AS merge_into,
      (SELECT COALESCE(pg_catalog.max(event.event_number) + 1, 0) FROM public.alerts event
       WHERE event.issuance_id = pending.issuance_id AND event.severity = v.severity) AS event_number,
      incident.id AS closes,
      CASE WHEN v.severity = 'suspicious' THEN ${incidentKeyOf("pending")}
           ELSE COALESCE(incident.incident_key, ${incidentKeyOf("incident")}) END AS incident_key,
      v.severity = 'suspicious'
        AND EXISTS (SELECT FROM public.alerts event
                    WHERE event.issuance_id = pending.issuance_id AND event.event_number IS NOT NULL
                      AND event.severity = 'info' AND ${sameCertificateBody("event", "pending")}) AS is_escalation
    FROM pg_catalog.json_to_recordset($1::json)
           AS v(id bigint, issuance_id text, severity text, match_basis text, inventory_row text, reason text,
                follows_known boolean, reason_after_other text, row_tbs_sha256 text, closable bigint[], claim boolean)
    JOIN public.alerts pending
      ON pending.id = v.id AND pending.issuance_id = v.issuance_id AND pending.severity = 'pending'
    LEFT JOIN LATERAL (
      SELECT event.id, event.incident_key, event.certificate_key FROM public.alerts event
      WHERE v.severity = 'info' AND event.issuance_id = pending.issuance_id AND ${closableBy("event", "pending")}
      ORDER BY event.event_number LIMIT 1
    ) AS incident ON true
    -- A certificate without DER is not called suspicious while one with DER of its issuance has its grace: that one may
    -- be the same certificate, and known. It waits for one grace more at most.
    WHERE NOT (v.severity = 'suspicious' AND pending.der_state IS NULL
               AND pg_catalog.now() < pending.judge_at + (pending.judge_at - pending.recorded_at)
               AND EXISTS (SELECT FROM public.alerts better
                           WHERE better.issuance_id = pending.issuance_id AND better.severity = 'pending'
                             AND better.der_state = 'read' AND better.judge_at > pg_catalog.now()))
    FOR UPDATE OF pending SKIP LOCKED
  ), target AS (
    SELECT j.id, j.merge_into, pg_catalog.array_prepend(j.certificate_key, j.other_keys) AS keys, j.tbs_sha256, j.excused_by, j.excuse_key, j.payload
    FROM judged j
    JOIN public.alerts event ON event.id = j.merge_into
      -- Read again under the lock: another replica may have given the event a TBS hash meanwhile.
      AND (${isTheCertificateOf("event", "j")} OR j.follows_known OR ${mayMerge("event", "j")})
    FOR UPDATE OF event SKIP LOCKED
  ), closing AS (
    SELECT j.id, j.closes, j.tbs_sha256, j.row_tbs_sha256, j.incident_key
    FROM judged j JOIN public.alerts incident ON incident.id = j.closes AND incident.cleared_at IS NULL
    FOR UPDATE OF incident SKIP LOCKED
  ), closed AS (
    UPDATE public.alerts event
    -- From now on nothing with another TBS hash merges into it: a copy that comes after the all-clear is a new
    -- incident.
    SET cleared_at = pg_catalog.now(), tbs_sha256 = COALESCE(event.tbs_sha256, c.tbs_sha256, c.row_tbs_sha256),
        incident_key = c.incident_key
    FROM closing c WHERE event.id = c.closes
    RETURNING c.id
  ), events AS (
    UPDATE public.alerts a
    SET severity = j.severity, match_basis = j.match_basis, excused_by = j.excused_by, excuse_key = j.excuse_key,
        excuse_until = CASE WHEN j.excuse_key IS NOT NULL THEN ${notAfterOf("j")} END,
        reason = CASE WHEN j.is_escalation OR j.closes IS NOT NULL THEN j.reason_after_other ELSE j.reason END,
        der = CASE WHEN j.severity = 'suspicious' THEN a.der END,
        event_number = j.event_number, judge_at = NULL, incident_key = j.incident_key,
        event_type = CASE WHEN j.is_escalation THEN 'certificate.escalated'
                          WHEN j.severity = 'suspicious' THEN 'certificate.suspicious'
                          WHEN j.closes IS NOT NULL THEN 'certificate.cleared' ELSE 'certificate.known' END,
        next_attempt_at = CASE WHEN j.is_to_deliver THEN pg_catalog.now() END,
        -- An all-clear waits until its page is delivered: claimDeliveries sees to that.
        lease_until = CASE WHEN j.is_to_deliver AND j.claim AND j.closes IS NULL
                           THEN pg_catalog.clock_timestamp() + $3::float8 * interval '1 second' END
    FROM judged j
    WHERE a.id = j.id AND j.merge_into IS NULL AND (j.closes IS NULL OR j.id IN (SELECT id FROM closed))
    RETURNING a.id, a.event_type, a.incident_key, a.reason, pg_catalog.to_json(a.lease_until) #>> '{}'::text[] AS lease, a.attempts,
              CASE WHEN a.lease_until IS NOT NULL THEN a.payload END AS payload, ${eventBytesOf("a")} AS bytes
  ), merged AS (
    UPDATE public.alerts event
    SET merged_keys = CASE WHEN pg_catalog.cardinality(event.merged_keys) >= ${maxMergedKeys} THEN event.merged_keys
                           ELSE pg_catalog.array_cat(event.merged_keys, t.keys) END,
        tbs_sha256 = COALESCE(event.tbs_sha256, t.tbs_sha256), merged_at = pg_catalog.now(),
        excused_by = COALESCE(event.excused_by, t.excused_by),
        excuse_key = COALESCE(event.excuse_key, CASE WHEN event.severity = 'info' THEN t.excuse_key END),
        excuse_until = COALESCE(event.excuse_until, CASE WHEN event.severity = 'info' THEN ${notAfterOf("t")} END)
    FROM target t WHERE event.id = t.merge_into
    RETURNING t.id
  ), gone AS (
    DELETE FROM public.alerts a USING merged WHERE a.id = merged.id AND a.severity = 'pending'
  ), exposed AS (${exposed("judged", "$2::boolean")})
  SELECT j.id, j.severity, e.id IS NOT NULL AS "isEvent", j.match_basis AS "matchBasis",
         COALESCE(e.reason, j.reason) AS reason, COALESCE(e.event_type, '') AS "eventType",
         e.incident_key AS "incidentKey", j.matched AS "matchedEntries", j.payload -> 'matched_sans'::text AS "matchedSans", j.issuer,
         e.lease, e.attempts, j.issuance_id AS "issuanceId", e.payload, e.bytes
  FROM judged j LEFT JOIN events e ON e.id = j.id
  WHERE e.id IS NOT NULL OR j.id IN (SELECT id FROM merged)
  UNION ALL
  SELECT id, severity, true, match_basis, reason, 'certificate.escalated', NULL, matched, payload -> 'matched_sans'::text, issuer,
         NULL, 0, NULL, NULL, NULL FROM exposed`;
