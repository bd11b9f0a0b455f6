import type { Database } from "../../db/pool.ts";

/**
 * Deletes up to `limit` rows that are older than the retention and have no work left. The latest of `seen_at`,
 * `recorded_at` and the last merge counts: a wrong clock of a feed never prunes a new row, and a merged certificate stays
 * known for the whole retention. An event that was recognised by serial number stays longer, until the retention has passed
 * since the certificate's `not_after`: as long as a copy with the same validity is of use to an attacker, the row must show
 * that the excuse is taken.
 *
 * @returns the number of deleted rows, and how many of these were never delivered.
 */
export async function pruneAlerts(
  db: Database,
  options: { retentionSeconds: number; limit: number; deadlineMs: number },
): Promise<{ deleted: number; undelivered: number }> {
  const [row] = await db.query<{ deleted: number; undelivered: number }>(
    {
      name: "prune alerts",
      text: `
        WITH deleted AS (
          DELETE FROM public.alerts WHERE id = ANY (ARRAY(
            SELECT id FROM public.alerts
            WHERE seen_at < EXTRACT(EPOCH FROM now()) - $1::float8
              AND (recorded_at IS NULL OR recorded_at < now() - $1::float8 * interval '1 second')
              AND (merged_at IS NULL OR merged_at < now() - $1::float8 * interval '1 second')
              AND next_attempt_at IS NULL AND severity <> 'pending'
              AND NOT (match_basis = 'serial' AND excused_by IS NOT NULL
                       AND (payload ->> 'not_after')::float8 >= EXTRACT(EPOCH FROM now()) - $1::float8)
            ORDER BY seen_at LIMIT $2 FOR UPDATE SKIP LOCKED))
          RETURNING delivered
        )
        SELECT count(*)::int AS deleted, (count(*) FILTER (WHERE NOT delivered))::int AS undelivered FROM deleted`,
      values: [options.retentionSeconds, options.limit],
    },
    options.deadlineMs,
  );
  return row ?? { deleted: 0, undelivered: 0 };
}
