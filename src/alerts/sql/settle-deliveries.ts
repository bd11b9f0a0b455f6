import { toJson } from "../../db/json.ts";
import type { Database } from "../../db/pool.ts";
import type { Outcome } from "../outbox.ts";

const awaitsOutcome = `a.id = o.id AND COALESCE(a.issuance_id, '') = o.issuance_id AND NOT a.delivered
            AND (o.delivered OR a.lease_until = o.lease::timestamptz)`;

/**
 * Writes the outcomes of attempts and ends their claims, in one statement. A success is written even if another process
 * holds the row now. A failure is written only while its own lease is in the row, so that a late failure does not
 * disturb the replica that took over. Safe to run twice. If a process crashes before this statement, the attempt is
 * repeated, with the same `webhook-id`, when the lease has ended.
 *
 * @returns the ids of the rows that somebody else has locked: run the statement again for these. So a row that is
 *   locked for long, for instance by hand, never holds up the others.
 */
export async function settleDeliveries(
  db: Database,
  outcomes: Outcome[],
  deadlineMs: number,
): Promise<number[]> {
  const rows = await db.query<{ id: number }>(
    {
      name: "settle deliveries",
      text: `
        WITH outcome AS (
          SELECT * FROM pg_catalog.json_to_recordset($1::json)
            AS o(id bigint, issuance_id text, lease text, delivered boolean, error text, postponed boolean,
                 retry_after_seconds float8)
        ), free AS (
          SELECT o.* FROM outcome o JOIN public.alerts a ON ${awaitsOutcome}
          FOR UPDATE OF a SKIP LOCKED
        ), settled AS (
          UPDATE public.alerts a
          SET delivered = o.delivered,
              delivered_at = CASE WHEN o.delivered THEN pg_catalog.now() END,
              attempts = a.attempts + (NOT o.postponed)::int,
              postponed_since = CASE WHEN o.postponed AND o.retry_after_seconds IS NOT NULL
                                     THEN COALESCE(a.postponed_since, pg_catalog.now()) END,
              last_error = CASE WHEN o.delivered THEN a.last_error ELSE o.error END,
              next_attempt_at = pg_catalog.now() + o.retry_after_seconds * interval '1 second',
              given_up_at = CASE WHEN NOT o.delivered AND o.retry_after_seconds IS NULL THEN pg_catalog.now() END,
              lease_until = NULL
          FROM free o WHERE a.id = o.id
        )
        SELECT a.id FROM outcome o JOIN public.alerts a ON ${awaitsOutcome}
        WHERE a.id NOT IN (SELECT id FROM free)`,
      values: [toJson(outcomes)],
    },
    deadlineMs,
  );
  return rows.map(({ id }) => id);
}

/**
 * Ends claims without an attempt: any replica may claim the events at once. Events whose rows somebody else has locked
 * wait until their leases end.
 */
export async function releaseDeliveries(
  db: Database,
  claims: { id: number; lease: string }[],
  deadlineMs: number,
): Promise<void> {
  await db.execute(
    {
      name: "release deliveries",
      text: `
        UPDATE public.alerts SET lease_until = NULL WHERE id = ANY (ARRAY(
          SELECT a.id FROM pg_catalog.json_to_recordset($1::json) AS c(id bigint, lease text)
          JOIN public.alerts a ON a.id = c.id AND a.lease_until = c.lease::timestamptz
          FOR UPDATE OF a SKIP LOCKED))`,
      values: [toJson(claims)],
    },
    deadlineMs,
  );
}
