import { toJson } from "./json.ts";
import { lockAlerts } from "./lock-alerts.ts";
import type { Database } from "./pool.ts";

/** How an attempt ended. */
export interface Outcome {
  id: number;
  /** Of the claim under which the attempt was made. */
  lease: string;
  delivered: boolean;
  /** Why not. */
  error: string | null;
  /** `null` after a failure: the alert is given up. */
  retry_after_seconds: number | null;
}

/**
 * Writes down how attempts ended and gives the claims back, in one statement. A success counts whoever holds the row
 * now; a failure only under its own lease, so that a late one does not disturb whoever took over. Safe to run twice. A
 * crash before it means that the attempt is repeated, with the same `webhook-id`, after the lease.
 */
export async function settleDeliveries(db: Database, outcomes: Outcome[], deadlineMs: number): Promise<void> {
  await db.execute(
    {
      text: `
        WITH outcome AS (
          SELECT * FROM json_to_recordset($1::json)
                     AS o(id bigint, lease text, delivered boolean, error text, retry_after_seconds float8)
        ), locked AS (
          ${lockAlerts("SELECT id FROM outcome")}
        )
        UPDATE public.alerts a
        SET delivered = o.delivered,
            delivered_at = CASE WHEN o.delivered THEN now() END,
            attempts = a.attempts + 1,
            last_error = CASE WHEN o.delivered THEN a.last_error ELSE o.error END,
            next_attempt_at = now() + o.retry_after_seconds * interval '1 second',
            given_up_at = CASE WHEN NOT o.delivered AND o.retry_after_seconds IS NULL THEN now() END,
            lease_until = NULL
        FROM locked JOIN outcome o USING (id)
        WHERE a.id = locked.id AND NOT a.delivered AND (o.delivered OR a.lease_until = o.lease::timestamptz)`,
      values: [toJson(outcomes)],
    },
    deadlineMs,
  );
}

/** Gives claims back without an attempt: the events are due at once, for any replica. */
export async function releaseDeliveries(
  db: Database,
  claims: { id: number; lease: string }[],
  deadlineMs: number,
): Promise<void> {
  await db.execute(
    {
      text: `
        WITH claim AS (
          SELECT * FROM json_to_recordset($1::json) AS c(id bigint, lease text)
        ), locked AS (
          ${lockAlerts("SELECT id FROM claim")}
        )
        UPDATE public.alerts a SET lease_until = NULL
        FROM locked JOIN claim c USING (id)
        WHERE a.id = locked.id AND a.lease_until = c.lease::timestamptz`,
      values: [toJson(claims)],
    },
    deadlineMs,
  );
}
