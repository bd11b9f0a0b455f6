import type { Queryable } from "../db/statement.ts";

/** Deletes these fingerprints (lower-case hex) from the inventory. Returns those that were in it. */
export async function removeInventory(
  db: Queryable,
  fingerprints: string[],
  deadlineMs: number,
): Promise<Set<string>> {
  const rows = await db.query<{ fingerprint: string }>(
    {
      name: "remove from the inventory",
      text: `DELETE FROM public.certs WHERE fingerprint_sha1 OPERATOR(pg_catalog.=) ANY ($1::text[])
             RETURNING fingerprint_sha1 AS fingerprint`,
      values: [fingerprints],
    },
    deadlineMs,
  );
  return new Set(rows.map((row) => row.fingerprint));
}
