import type { Database } from "./pool.ts";

/** Every row of the watch list, as it stands there; rows without a value are left out. */
export async function readWatchList(db: Database, deadlineMs: number): Promise<string[]> {
  const rows = await db.query<{ fqdn: string }>(
    { text: `SELECT fqdn FROM public.intent_current WHERE fqdn IS NOT NULL` },
    deadlineMs,
  );
  return rows.map((row) => row.fqdn);
}
