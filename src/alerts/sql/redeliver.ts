import type { Queryable } from "../../db/statement.ts";

export interface RedeliverOptions {
  /** Leaves out events given up (in observer mode: recorded) before this time, epoch seconds; `null`: includes all. */
  sinceEpochSeconds: number | null;
  /** Whether to include events that were recorded in observer mode. */
  includeObserved: boolean;
  deadlineMs: number;
}

/** The number of events of one severity. */
export interface Redelivered {
  severity: string;
  count: number;
}

/** Chooses only events: no pending certificates, and no rows from before certwatch (in these `recorded_at` is null). */
const toRedeliver = `
  severity IN ('info', 'suspicious') AND recorded_at IS NOT NULL AND NOT delivered AND next_attempt_at IS NULL
  AND (given_up_at IS NOT NULL OR $2::boolean)
  AND ($1::float8 IS NULL OR COALESCE(given_up_at, recorded_at) >= pg_catalog.to_timestamp($1))`;

/**
 * Makes given-up events due again, with no attempt used up, in one statement. Passes over events that are due already,
 * so running it twice is safe, and over rows that somebody else has locked. A replica that delivers finds the events at
 * its next poll.
 */
export async function redeliver(db: Queryable, options: RedeliverOptions): Promise<Redelivered[]> {
  return await db.query<Redelivered>(
    {
      name: "redeliver alerts",
      text: `
        WITH due AS (
          UPDATE public.alerts
          SET next_attempt_at = pg_catalog.now(), lease_until = NULL, attempts = 0, expired_claims = 0, given_up_at = NULL
          WHERE id = ANY (ARRAY(SELECT id FROM public.alerts WHERE ${toRedeliver} FOR UPDATE SKIP LOCKED))
          RETURNING severity
        )
        SELECT severity, pg_catalog.count(*)::int AS count FROM due GROUP BY severity ORDER BY severity DESC`,
      values: [options.sinceEpochSeconds, options.includeObserved],
    },
    options.deadlineMs,
  );
}

/** Counts the events that {@link redeliver} would make due. */
export async function countRedeliverable(db: Queryable, options: RedeliverOptions): Promise<Redelivered[]> {
  return await db.query<Redelivered>(
    {
      name: "count redeliverable alerts",
      text: `SELECT severity, pg_catalog.count(*)::int AS count FROM public.alerts WHERE ${toRedeliver}
             GROUP BY severity ORDER BY severity DESC`,
      values: [options.sinceEpochSeconds, options.includeObserved],
    },
    options.deadlineMs,
  );
}
