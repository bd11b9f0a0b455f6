import type { Database } from "../../db/pool.ts";
import type { PendingCertificate } from "../../issuance/pending.ts";
import { counted, fitsRead, isSmall, largeReadBytes, rowBytesOf, smallRowBytes } from "./row-bytes.ts";

/** SQL: the columns of the row `a` of `public.alerts` that make a `PendingCertificate`. */
export const certificateColumns = `a.id, ${rowBytesOf("a")} AS "rowBytes", a.issuance_id AS "issuanceId", a.fingerprint,
  a.tbs_sha256 AS "tbsSha256", a.der_state AS "derState", a.sans,
  CASE WHEN a.payload -> 'is_cn_appended'::text = 'true' THEN a.sans - (-1) END AS "dnsNames", a.payload ->> 'subject_cn'::text AS "subjectCn",
  COALESCE(a.payload -> 'is_cn_watched'::text = 'true',
           a.payload -> 'matched_sans'::text @> pg_catalog.to_jsonb(a.payload ->> 'subject_cn'::text), false) AS "isCnWatched",
  a.payload ->> 'serial'::text AS serial, a.serial_key AS "serialKey", (a.payload ->> 'not_before'::text)::bigint AS "notBefore",
  (a.payload ->> 'not_after'::text)::bigint AS "notAfter", a.payload ->> 'update_type'::text AS "updateType", a.seen_at AS "seenAt"`;

const isDue = "a.severity = 'pending' AND a.judge_at <= pg_catalog.now()";

/**
 * Reads small certificates whose grace is over: at most `limit`, the longest waiting first, none of the ids in
 * `except`. It locks nothing, since `judgeCertificates` finds out by itself what somebody else has judged. Large
 * certificates, which {@link largeDueCertificates} reads, never stand before these.
 */
export async function dueCertificates(
  db: Database,
  { limit, except }: { limit: number; except: number[] },
  deadlineMs: number,
): Promise<PendingCertificate[]> {
  return await db.query<PendingCertificate>(
    {
      name: "find due certificates",
      text: `SELECT ${certificateColumns} FROM public.alerts a
             WHERE ${isDue} AND a.id <> ALL ($2::bigint[]) AND ${isSmall("a")}
             ORDER BY a.judge_at, a.id LIMIT $1`,
      values: [limit, except],
    },
    deadlineMs,
  );
}

/**
 * How many due rows, the longest waiting ones, are looked through for large ones. However many small ones are due, this takes
 * a quarter of a second; a large one behind so many is found when these are judged.
 */
const maxWalkedRows = 100_000;
/** How many large rows are weighed: more than 8 MB of them. */
const maxLargeRows = Math.ceil(largeReadBytes / smallRowBytes);

/** Reads large certificates whose grace is over, the longest waiting first: as many as have 8 MB together, or one. */
export async function largeDueCertificates(
  db: Database,
  except: number[],
  deadlineMs: number,
): Promise<PendingCertificate[]> {
  return await db.query<PendingCertificate>(
    {
      name: "find due certificates",
      text: `WITH due AS (
               SELECT a.id, a.judge_at, ${rowBytesOf("a")} AS bytes FROM public.alerts a
               WHERE ${isDue} AND a.id <> ALL ($1::bigint[])
               ORDER BY a.judge_at, a.id LIMIT ${maxWalkedRows}
             ), large AS (
               SELECT id, judge_at, bytes FROM due WHERE bytes > ${smallRowBytes}
               ORDER BY judge_at, id LIMIT ${maxLargeRows}
             ), ${counted("large", "judge_at, id")}
             SELECT ${certificateColumns} FROM counted c JOIN public.alerts a ON a.id = c.id
             WHERE ${fitsRead}
             ORDER BY c.place`,
      values: [except],
    },
    deadlineMs,
  );
}

/**
 * Milliseconds until the next grace is over, by the database's clock; Infinity where nothing but `except` is pending.
 */
export async function millisecondsToNextDue(
  db: Database,
  except: number[],
  deadlineMs: number,
): Promise<number> {
  const [row] = await db.query<{ ms: number | null }>(
    {
      name: "find the next judgement",
      text: `SELECT EXTRACT(EPOCH FROM pg_catalog.min(judge_at) - pg_catalog.clock_timestamp())::float8 * 1000::float8 AS ms
             FROM public.alerts WHERE severity = 'pending' AND id <> ALL ($1::bigint[])`,
      values: [except],
    },
    deadlineMs,
  );
  return row?.ms ?? Number.POSITIVE_INFINITY;
}
