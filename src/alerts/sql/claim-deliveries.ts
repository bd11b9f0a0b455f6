import type { Database } from "../../db/pool.ts";
import type { Delivery } from "../outbox.ts";
import type { Severity } from "../payload.ts";
import { eventBytesOf } from "./row-bytes.ts";

/** SQL: whether an event is an all-clear whose page is not delivered and not given up. */
const waitsForItsPage = (event: string) =>
  `(${event}.event_type = 'certificate.cleared'
    AND EXISTS (SELECT FROM public.alerts page
                WHERE page.incident_key = ${event}.incident_key AND page.severity = 'suspicious'
                  AND page.next_attempt_at IS NOT NULL))`;

/**
 * Claims due events of one severity, the longest due first, for `leaseSeconds` by the database's clock: up to `limit`,
 * and as many as have `maxBytes` together. An event that does not fit waits, and those behind it wait with it. Never
 * claims a row that certwatch did not record, whatever somebody wrote into the row. No two replicas get the same event.
 * An all-clear is claimed only when its page was delivered or given up, so that it never overtakes the page. If a
 * process crashes after the claim, the event stays leased until the lease ends; then any replica may claim the event
 * again, and this claim raises `expired_claims`.
 */
export async function claimDeliveries(
  db: Database,
  options: { severity: Severity; limit: number; maxBytes: number; leaseSeconds: number; deadlineMs: number },
): Promise<Delivery[]> {
  return await db.query<Delivery>(
    {
      name: "claim deliveries",
      text: `
        WITH due AS (
          SELECT id, next_attempt_at, ${eventBytesOf("alerts")} AS bytes FROM public.alerts
          WHERE severity = $1 AND next_attempt_at <= pg_catalog.now() AND recorded_at IS NOT NULL
            AND (lease_until IS NULL OR lease_until <= pg_catalog.now()) AND NOT ${waitsForItsPage("alerts")}
          ORDER BY next_attempt_at LIMIT $2 FOR UPDATE SKIP LOCKED
        ), counted AS (
          SELECT id, bytes, (pg_catalog.sum(bytes) OVER (ORDER BY next_attempt_at, id))::bigint AS total FROM due
        )
        UPDATE public.alerts a
        SET lease_until = pg_catalog.clock_timestamp() + $3::float8 * interval '1 second',
            expired_claims = a.expired_claims + (a.lease_until IS NOT NULL)::int
        FROM counted c WHERE a.id = c.id AND c.total <= $4::bigint
        RETURNING a.id, pg_catalog.to_json(a.lease_until) #>> '{}'::text[] AS lease, a.attempts, a.severity,
                  a.event_type AS "eventType", a.incident_key AS "incidentKey", COALESCE(a.issuance_id, '') AS "issuanceId",
                  a.match_basis AS "matchBasis", a.reason, c.bytes,
                  CASE WHEN pg_catalog.jsonb_typeof(a.payload) = 'object'
                       THEN a.payload - '{subject_cn,is_cn_watched,is_cn_appended}'::text[] END AS payload,
                  EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - a.postponed_since)::float8 AS "postponedSeconds"`,
      values: [options.severity, options.limit, options.leaseSeconds, options.maxBytes],
    },
    options.deadlineMs,
  );
}

/**
 * Returns the milliseconds, by the database's clock, until an event of this severity is due and nobody holds it;
 * Infinity if no event waits for delivery.
 */
export async function millisecondsToNextDelivery(
  db: Database,
  severity: Severity,
  deadlineMs: number,
): Promise<number> {
  const [row] = await db.query<{ ms: number | null }>(
    {
      name: "find the next delivery",
      text: `SELECT EXTRACT(EPOCH FROM pg_catalog.min(GREATEST(next_attempt_at, lease_until)) - pg_catalog.clock_timestamp())::float8
                      * 1000::float8 AS ms
             FROM public.alerts
             WHERE next_attempt_at IS NOT NULL AND recorded_at IS NOT NULL AND severity = $1
               AND NOT ${waitsForItsPage("alerts")}`,
      values: [severity],
    },
    deadlineMs,
  );
  return row?.ms ?? Number.POSITIVE_INFINITY;
}
