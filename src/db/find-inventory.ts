import type { Database } from "./pool.ts";

/** Which of these SHA-1 fingerprints (lower-case hex) are in the inventory. */
export async function findInventoryByFingerprint(
  db: Database,
  fingerprints: string[],
  deadlineMs: number,
): Promise<Set<string>> {
  if (fingerprints.length === 0) return new Set();
  const rows = await db.query<{ fingerprint: string }>(
    {
      text: `SELECT fingerprint_sha1 AS fingerprint FROM public.certs WHERE fingerprint_sha1 = ANY ($1::text[])`,
      values: [fingerprints],
    },
    deadlineMs,
  );
  return new Set(rows.map((row) => row.fingerprint));
}
