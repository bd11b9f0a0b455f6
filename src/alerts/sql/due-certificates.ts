import type { Database } from "../../db/pool.ts";
import type { PendingCertificate } from "../../issuance/pending.ts";

/** SQL: the columns of `public.alerts` that make a `PendingCertificate`. */
export const certificateColumns = `id, issuance_id AS "issuanceId", fingerprint, tbs_sha256 AS "tbsSha256",
  der_state AS "derState", sans, CASE WHEN jsonb_typeof(payload -> 'dns_names') = 'array' THEN payload -> 'dns_names' END AS "dnsNames",
  payload ->> 'subject_cn' AS "subjectCn",
  COALESCE(payload -> 'matched_sans' @> to_jsonb(payload ->> 'subject_cn'), false) AS "isCnWatched", payload ->> 'serial' AS serial,
  serial_key AS "serialKey",
  (payload ->> 'not_before')::bigint AS "notBefore", (payload ->> 'not_after')::bigint AS "notAfter",
  payload ->> 'update_type' AS "updateType"`;

/**
 * Reads certificates whose grace is over: at most `limit`, the longest waiting first, none of the ids in `except`. It locks
 * nothing, since `judgeCertificates` finds out by itself what somebody else has judged.
 */
export async function dueCertificates(
  db: Database,
  { limit, except }: { limit: number; except: number[] },
  deadlineMs: number,
): Promise<PendingCertificate[]> {
  return await db.query<PendingCertificate>(
    {
      name: "find due certificates",
      text: `SELECT ${certificateColumns} FROM public.alerts
             WHERE severity = 'pending' AND judge_at <= now() AND id <> ALL ($2::bigint[])
             ORDER BY judge_at, id LIMIT $1`,
      values: [limit, except],
    },
    deadlineMs,
  );
}

/** Milliseconds until the next grace is over, by the database's clock; Infinity where nothing but `except` is pending. */
export async function millisecondsToNextDue(
  db: Database,
  except: number[],
  deadlineMs: number,
): Promise<number> {
  const [row] = await db.query<{ ms: number | null }>(
    {
      name: "find the next judgement",
      text: `SELECT (EXTRACT(EPOCH FROM min(judge_at) - clock_timestamp()) * 1000)::float8 AS ms
             FROM public.alerts WHERE severity = 'pending' AND id <> ALL ($1::bigint[])`,
      values: [except],
    },
    deadlineMs,
  );
  return row?.ms ?? Number.POSITIVE_INFINITY;
}
