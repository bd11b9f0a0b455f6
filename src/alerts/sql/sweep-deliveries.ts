import type { Database } from "../../db/pool.ts";

/** How many claims without an outcome make us give an event up: something kills every process that sends it. */
export const maxExpiredClaims = 20;

/**
 * The number of expired claims of a row. `expired_claims` is raised only by the *next* claim, and a row that is being
 * given up has no next claim, so its last lease is added here.
 */
const expiredClaims = `(expired_claims + (lease_until IS NOT NULL)::int)`;

/** Gives up events with `maxExpiredClaims` expired claims, and returns their ids. Safe to run twice. */
export async function giveUpExpired(db: Database, deadlineMs: number): Promise<number[]> {
  const rows = await db.query<{ id: number }>(
    {
      name: "give up expired claims",
      text: `
        UPDATE public.alerts
        SET given_up_at = pg_catalog.now(), next_attempt_at = NULL, lease_until = NULL, postponed_since = NULL,
            expired_claims = ${expiredClaims},
            last_error = 'claimed ' || ${expiredClaims}::text || ' times without an outcome: the process ended or stalled each time'
        WHERE id = ANY (ARRAY(
          SELECT id FROM public.alerts
          WHERE next_attempt_at IS NOT NULL AND severity <> 'pending' AND ${expiredClaims} >= $1
            AND (lease_until IS NULL OR lease_until <= pg_catalog.now())
          FOR UPDATE SKIP LOCKED))
        RETURNING id`,
      values: [maxExpiredClaims],
    },
    deadlineMs,
  );
  return rows.map((row) => row.id);
}

/**
 * Makes the events due that a replica in observer mode recorded within the last hour, and returns their ids. It leaves an
 * event alone if another program on the same table has delivered it: a row that certwatch did not record, with the same
 * fingerprint and severity. So a trial run beside such a program sends nothing again when it takes over. Safe to run twice.
 */
export async function adoptObserved(db: Database, deadlineMs: number): Promise<number[]> {
  const rows = await db.query<{ id: number }>(
    {
      name: "adopt observed alerts",
      text: `
        UPDATE public.alerts SET next_attempt_at = pg_catalog.now()
        WHERE id = ANY (ARRAY(
          SELECT id FROM public.alerts observed
          WHERE recorded_at > pg_catalog.now() - interval '1 hour' AND next_attempt_at IS NULL AND given_up_at IS NULL
            AND NOT delivered AND severity <> 'pending'
            AND NOT EXISTS (SELECT FROM public.alerts other
                            WHERE other.fingerprint = observed.fingerprint AND other.fingerprint <> ''
                              AND other.severity = observed.severity AND other.delivered AND other.recorded_at IS NULL)
          FOR UPDATE SKIP LOCKED))
        RETURNING id`,
    },
    deadlineMs,
  );
  return rows.map((row) => row.id);
}
