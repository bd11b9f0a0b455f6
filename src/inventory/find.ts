import type { Queryable } from "../db/statement.ts";

/** An inventory row that was found by its serial number. */
export interface SerialRow {
  /** Lower-case hex. */
  fingerprint: string;
  /** What upstream wrote: it should be a JSON array of names. */
  sans: unknown;
  notBefore: number;
  notAfter: number;
  /** `null` when the row has none, or the table has no such column. */
  tbsSha256: string | null;
  /**
   * The issuances that this row has recognised already, and, where it is certain to be one's own, the issuance that is
   * looked up.
   */
  recognised: RecognisedIssuance[];
}

export interface RecognisedIssuance {
  issuanceId: string;
  tbsSha256: string | null;
  /** It was recognised by fingerprint or TBS hash, which is stronger evidence than the serial number. */
  isCertain: boolean;
}

/** A precertificate to look up. Its serial number is in normal form, its validity in epoch seconds. */
export interface SerialQuestion {
  issuance_id: string;
  serial: string;
  /** See `Identity`. */
  serial_key: string | null;
  not_before: number;
  not_after: number;
}

/**
 * SQL that brings a serial number into normal form. `normalizeSerial` does the same in TypeScript, and the index
 * `certs_serial` in schema.sql is built on the same expression: keep all three equal.
 */
export const serialNormalForm = `pg_catalog.ltrim(pg_catalog.upper(pg_catalog.regexp_replace(serial, '[^0-9A-Fa-f]', '', 'g')), '0')`;

/**
 * Returns those of these SHA-1 fingerprints (lower-case hex) that are in the inventory, each with the TBS hash of its
 * row; `null` where the row, or the table, has none.
 */
export async function findByFingerprint(
  db: Queryable,
  fingerprints: string[],
  options: { hasTbsColumn: boolean; deadlineMs: number },
): Promise<Map<string, string | null>> {
  if (fingerprints.length === 0) return new Map();
  const rows = await db.query<{ fingerprint: string; tbsSha256: string | null }>(
    {
      name: "find by fingerprint",
      text: `SELECT certs.fingerprint_sha1 AS fingerprint, ${tbsColumn(options.hasTbsColumn)} AS "tbsSha256"
             FROM public.certs WHERE certs.fingerprint_sha1 OPERATOR(pg_catalog.=) ANY ($1::text[])`,
      values: [fingerprints],
    },
    options.deadlineMs,
  );
  return new Map(rows.map((row) => [row.fingerprint, row.tbsSha256]));
}

/**
 * Returns those of these TBS hashes (lower-case hex) that are in the inventory, each with the fingerprint of its row.
 * The table must have the column `tbs_sha256`.
 */
export async function findByTbs(
  db: Queryable,
  hashes: string[],
  deadlineMs: number,
): Promise<Map<string, string>> {
  if (hashes.length === 0) return new Map();
  const rows = await db.query<{ tbsSha256: string; fingerprint: string }>(
    {
      name: "find by TBS hash",
      text: `SELECT certs.tbs_sha256 AS "tbsSha256", certs.fingerprint_sha1 AS fingerprint
             FROM public.certs WHERE certs.tbs_sha256 OPERATOR(pg_catalog.=) ANY ($1::text[])`,
      values: [hashes],
    },
    deadlineMs,
  );
  return new Map(rows.map((row) => [row.tbsSha256, row.fingerprint]));
}

/**
 * Finds the inventory rows that have the serial number and validity of each precertificate.
 *
 * @returns the rows by the `issuance_id` of the question.
 */
export async function findBySerial(
  db: Queryable,
  questions: SerialQuestion[],
  options: { hasTbsColumn: boolean; deadlineMs: number },
): Promise<Map<string, SerialRow[]>> {
  const found = new Map<string, SerialRow[]>();
  if (questions.length === 0) return found;
  const rows = await db.query<SerialRow & { question: string }>(
    {
      name: "find by serial number",
      text: bySerial(options.hasTbsColumn),
      values: [JSON.stringify(questions.map(toWanted))],
    },
    options.deadlineMs,
  );
  for (const { question, ...row } of rows) found.set(question, [...(found.get(question) ?? []), row]);
  return found;
}

/**
 * Renames `serial` to `wanted`: the SQL in {@link serialNormalForm} needs `serial` to mean the column of the inventory.
 */
function toWanted({ serial, ...question }: SerialQuestion): object {
  return { wanted: serial, ...question };
}

const tbsColumn = (hasTbsColumn: boolean) => (hasTbsColumn ? "certs.tbs_sha256" : "NULL::text");

const bySerial = (hasTbsColumn: boolean) => `
  SELECT q.issuance_id AS question, certs.fingerprint_sha1 AS fingerprint, certs.sans,
         certs.not_before::bigint AS "notBefore", certs.not_after::bigint AS "notAfter",
         ${tbsColumn(hasTbsColumn)} AS "tbsSha256",
         COALESCE((
           SELECT pg_catalog.json_agg(pg_catalog.json_build_object('issuanceId', r.issuance_id, 'tbsSha256', r.tbs_sha256,
                                             'isCertain', r.is_certain))
           FROM (SELECT issuance_id, tbs_sha256, match_basis <> 'serial' AS is_certain FROM public.alerts
                 WHERE excuse_key = q.serial_key
                 UNION ALL
                 SELECT issuance_id, tbs_sha256, match_basis <> 'serial' FROM public.alerts
                 WHERE excused_by OPERATOR(pg_catalog.=) certs.fingerprint_sha1 -- as version 0.1.0 wrote it, without excuse_key
                 UNION ALL
                 SELECT issuance_id, tbs_sha256, true FROM public.alerts
                 WHERE fingerprint OPERATOR(pg_catalog.=) certs.fingerprint_sha1 AND fingerprint <> '' AND der_state = 'read'
                 UNION ALL
                 SELECT issuance_id, tbs_sha256, true FROM public.alerts
                 WHERE certificate_key = 'sha1:' || certs.fingerprint_sha1::text -- as version 0.1.0 wrote it
                 UNION ALL
                 SELECT issuance_id, tbs_sha256, true FROM public.alerts
                 WHERE issuance_id = q.issuance_id AND severity = 'info' AND match_basis IN ('fingerprint', 'tbs')) AS r
         ), '[]') AS recognised
  FROM (SELECT DISTINCT *
        FROM pg_catalog.json_to_recordset($1::json) AS q(issuance_id text, wanted text, serial_key text, not_before bigint, not_after bigint)) AS q
  JOIN public.certs ON ${serialNormalForm} = q.wanted
                   AND certs.not_before OPERATOR(pg_catalog.=) q.not_before
                   AND certs.not_after OPERATOR(pg_catalog.=) q.not_after`;
