import type { Database } from "../../db/pool.ts";
import { notAfterOf } from "./expressions.ts";

interface PruneOptions {
  retentionSeconds: number;
  limit: number;
  deadlineMs: number;
}

/**
 * SQL: whether a row is older than the retention ($1, seconds) and has no work left. The latest of `seen_at`,
 * `recorded_at` and the last merge counts: a wrong clock of a feed never prunes a new row, and a merged certificate
 * stays known for the whole retention.
 */
const isOver = `seen_at < (EXTRACT(EPOCH FROM pg_catalog.now())::float8 - $1::float8)::bigint
  AND (recorded_at IS NULL OR recorded_at < pg_catalog.now() - $1::float8 * interval '1 second')
  AND (merged_at IS NULL OR merged_at < pg_catalog.now() - $1::float8 * interval '1 second')
  AND next_attempt_at IS NULL AND severity <> 'pending'`;

/**
 * SQL: whether a row holds an excuse that an attacker could use: until the retention has passed since the certificate's
 * `not_after`. Rows of version 0.1.0 hold it by `excused_by` alone.
 */
const holdsExcuse = `((excuse_key IS NOT NULL OR match_basis = 'serial' AND excused_by IS NOT NULL)
  AND COALESCE(excuse_until, ${notAfterOf("alerts")}, 0) >= (EXTRACT(EPOCH FROM pg_catalog.now())::float8 - $1::float8)::bigint)`;

/**
 * Deletes up to `limit` rows that are older than the retention and have no work left. A row that holds an excuse stays,
 * so that a copy with the same serial number, validity and names is never excused by it: see {@link reduceExcuses}.
 *
 * @returns the number of deleted rows, and how many of these were never delivered.
 */
export async function pruneAlerts(
  db: Database,
  { retentionSeconds, limit, deadlineMs }: PruneOptions,
): Promise<{ deleted: number; undelivered: number }> {
  const [row] = await db.query<{ deleted: number; undelivered: number }>(
    {
      name: "prune alerts",
      text: `
        WITH deleted AS (
          DELETE FROM public.alerts WHERE id = ANY (ARRAY(
            SELECT id FROM public.alerts WHERE ${isOver} AND NOT ${holdsExcuse}
            ORDER BY seen_at LIMIT $2 FOR UPDATE SKIP LOCKED))
          RETURNING delivered
        )
        SELECT pg_catalog.count(*)::int AS deleted, (pg_catalog.count(*) FILTER (WHERE NOT delivered))::int AS undelivered FROM deleted`,
      values: [retentionSeconds, limit],
    },
    deadlineMs,
  );
  return row ?? { deleted: 0, undelivered: 0 };
}

/**
 * Takes certificate and payload out of up to `limit` rows that are older than the retention and stay for their excuse
 * alone.
 *
 * @returns the number of rows that were changed.
 */
export async function reduceExcuses(
  db: Database,
  { retentionSeconds, limit, deadlineMs }: PruneOptions,
): Promise<number> {
  return await db.execute(
    {
      name: "prune alerts",
      text: `
        UPDATE public.alerts
        SET der = NULL, payload = NULL, row_bytes = NULL, excuse_until = COALESCE(excuse_until, ${notAfterOf("alerts")})
        WHERE id = ANY (ARRAY(
          SELECT id FROM public.alerts WHERE ${isOver} AND ${holdsExcuse} AND payload IS NOT NULL
          ORDER BY seen_at LIMIT $2 FOR UPDATE SKIP LOCKED))`,
      values: [retentionSeconds, limit],
    },
    deadlineMs,
  );
}

/**
 * Takes the certificate out of the oldest rows, so that those that are kept have at most `maxBytes` in all. Hashes,
 * serial number and log entry stay.
 *
 * @returns the number of rows that were changed.
 */
export async function limitKeptCertificates(
  db: Database,
  { maxBytes, deadlineMs }: { maxBytes: number; deadlineMs: number },
): Promise<number> {
  return await db.execute(
    {
      name: "prune alerts",
      text: `
        UPDATE public.alerts SET der = NULL
        FROM (SELECT id, pg_catalog.sum(pg_catalog.octet_length(der)) OVER (ORDER BY id DESC) AS bytes FROM public.alerts
              WHERE severity IN ('pending', 'suspicious') AND der IS NOT NULL) AS newest
        WHERE alerts.id = newest.id AND newest.bytes > $1::bigint`,
      values: [maxBytes],
    },
    deadlineMs,
  );
}
