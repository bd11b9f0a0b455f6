import type { Database } from "../../db/pool.ts";
import type { PendingCertificate } from "../../issuance/pending.ts";
import { certificateColumns } from "./due-certificates.ts";
import { counted, fitsRead, rowBytesOf } from "./row-bytes.ts";

/** SQL: whether a row is a `suspicious` event that no all-clear has closed. */
const isOpen = "a.severity = 'suspicious' AND a.event_number IS NOT NULL AND a.cleared_at IS NULL";

/**
 * Reads the certificates of the open incidents of these issuances that have no TBS hash to be compared by, in pages, by
 * id: those after `afterId`, as many as have 8 MB together, or one. An empty page is the end. Locks nothing.
 */
export async function openIncidentsWithoutTbs(
  db: Database,
  { issuanceIds, afterId }: { issuanceIds: string[]; afterId: number },
  deadlineMs: number,
): Promise<PendingCertificate[]> {
  return await db.query<PendingCertificate>(
    {
      name: "find open incidents",
      text: `WITH open AS (
               SELECT a.id, ${rowBytesOf("a")} AS bytes FROM public.alerts a
               WHERE a.issuance_id = ANY ($1::text[]) AND ${isOpen} AND a.tbs_sha256 IS NULL AND a.id > $2
             ), ${counted("open", "id")}
             SELECT ${certificateColumns} FROM counted c JOIN public.alerts a ON a.id = c.id
             WHERE ${fitsRead}
             ORDER BY a.id`,
      values: [issuanceIds, afterId],
    },
    deadlineMs,
  );
}

/** What the second look does not read: a page of open incidents is small, whatever names they have. */
const unread = {
  rowBytes: 0,
  sans: [],
  dnsNames: null,
  subjectCn: null,
  isCnWatched: false,
  serial: null,
  serialKey: null,
  notBefore: null,
  notAfter: null,
};

/**
 * SQL: the fingerprint of an incident, if nothing says that it is another certificate's. A feed without DER may claim any
 * fingerprint. If a certificate with DER was merged into the incident, that one must have had the same.
 */
const provenFingerprint = `CASE WHEN a.der_state IS NULL AND a.tbs_sha256 IS NOT NULL
    AND NOT COALESCE(a.certificate_key = ANY (a.merged_keys), false) THEN ''::text ELSE a.fingerprint END`;

/**
 * Reads what the second look needs of open incidents that were recorded within the last `withinSeconds`: fingerprints
 * and TBS hashes, no names. In pages of `limit`, by id: those after `afterId`. Locks nothing: `clearIncidents` finds
 * out by itself which incident somebody else has closed.
 */
export async function openIncidents(
  db: Database,
  options: { withinSeconds: number; afterId: number; limit: number; deadlineMs: number },
): Promise<PendingCertificate[]> {
  const rows = await db.query<Omit<PendingCertificate, keyof typeof unread | "updateType">>(
    {
      name: "find open incidents",
      text: `SELECT a.id, a.issuance_id AS "issuanceId", ${provenFingerprint} AS fingerprint, a.tbs_sha256 AS "tbsSha256",
                    a.der_state AS "derState", a.seen_at AS "seenAt"
             FROM public.alerts a
             WHERE ${isOpen} AND a.recorded_at > pg_catalog.now() - $1::float8 * interval '1 second' AND a.id > $2
             ORDER BY a.id LIMIT $3`,
      values: [options.withinSeconds, options.afterId, options.limit],
    },
    options.deadlineMs,
  );
  return rows.map((row) => ({ ...row, ...unread, updateType: null }));
}

/** Adds the update types of these incidents. To read one costs as much as the whole payload, so it is done for few. */
export async function withUpdateTypes(
  db: Database,
  incidents: PendingCertificate[],
  deadlineMs: number,
): Promise<PendingCertificate[]> {
  if (incidents.length === 0) return [];
  const rows = await db.query<{ id: number; updateType: string | null }>(
    {
      name: "find open incidents",
      text: `SELECT a.id, a.payload ->> 'update_type'::text AS "updateType" FROM public.alerts a WHERE a.id = ANY ($1::bigint[])`,
      values: [incidents.map(({ id }) => id)],
    },
    deadlineMs,
  );
  const updateTypes = new Map(rows.map(({ id, updateType }) => [id, updateType]));
  return incidents.map((incident) => ({ ...incident, updateType: updateTypes.get(incident.id) ?? null }));
}
