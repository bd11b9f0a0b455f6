import type { Database } from "../../db/pool.ts";
import type { PendingCertificate } from "../../issuance/pending.ts";
import { certificateColumns } from "./due-certificates.ts";

/** SQL: whether a row is a `suspicious` event that no all-clear has closed. */
const isOpen = "severity = 'suspicious' AND event_number IS NOT NULL AND cleared_at IS NULL";

/** Reads the certificates of the open incidents of these issuances that have no TBS hash to be compared by. Locks nothing. */
export async function openIncidentsWithoutTbs(
  db: Database,
  issuanceIds: string[],
  deadlineMs: number,
): Promise<PendingCertificate[]> {
  return await db.query<PendingCertificate>(
    {
      name: "find open incidents",
      text: `SELECT ${certificateColumns} FROM public.alerts
             WHERE issuance_id = ANY ($1::text[]) AND ${isOpen} AND tbs_sha256 IS NULL`,
      values: [issuanceIds],
    },
    deadlineMs,
  );
}

/**
 * Reads the certificates of open incidents that were recorded within the last `withinSeconds`, in pages of `limit`, by id:
 * those after `afterId`. Locks nothing: `clearIncidents` finds out by itself which incident somebody else has closed.
 */
export async function openIncidents(
  db: Database,
  options: { withinSeconds: number; afterId: number; limit: number; deadlineMs: number },
): Promise<PendingCertificate[]> {
  return await db.query<PendingCertificate>(
    {
      name: "find open incidents",
      text: `SELECT ${certificateColumns} FROM public.alerts
             WHERE ${isOpen} AND recorded_at > now() - $1::float8 * interval '1 second' AND id > $2
             ORDER BY id LIMIT $3`,
      values: [options.withinSeconds, options.afterId, options.limit],
    },
    options.deadlineMs,
  );
}
