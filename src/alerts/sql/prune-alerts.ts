import type { Database } from "../../db/pool.ts";

/**
 * Deletes up to `limit` rows that are older than the retention and have no work left. The later of the feed's time and
 * the time of recording counts, so that a feed with a wrong clock never prunes a fresh row. An event that an inventory
 * row excused by serial number stays until the retention has passed since the certificate's `not_after`: as long as a
 * second issuance with the same validity would be of use to somebody, it finds the excuse taken.
 *
 * @returns how many went, and how many of those were never delivered.
 */
export async function pruneAlerts(
  db: Database,
  options: { retentionSeconds: number; limit: number; deadlineMs: number },
): Promise<{ deleted: number; undelivered: number }> {
  const [row] = await db.query<{ deleted: number; undelivered: number }>(
    {
      text: `
        WITH deleted AS (
          DELETE FROM public.alerts WHERE id = ANY (ARRAY(
            SELECT id FROM public.alerts
            WHERE seen_at < EXTRACT(EPOCH FROM now()) - $1::float8
              AND (recorded_at IS NULL OR recorded_at < now() - $1::float8 * interval '1 second')
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
