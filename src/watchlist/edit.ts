import type { Queryable } from "../db/statement.ts";

/** Adds rows to the watch list, except rows that it already has in the same spelling. Safe to run twice. */
export async function addWatchEntries(db: Queryable, entries: string[], deadlineMs: number): Promise<void> {
  await db.execute(
    {
      name: "add to the watch list",
      text: `INSERT INTO public.intent_current (fqdn)
             SELECT DISTINCT entry FROM pg_catalog.unnest($1::text[]) AS entry
             WHERE NOT EXISTS (SELECT FROM public.intent_current WHERE fqdn OPERATOR(pg_catalog.=) entry)`,
      values: [entries],
    },
    deadlineMs,
  );
}

/** Deletes the rows that have exactly one of these spellings. Returns how many rows were deleted. */
export async function removeWatchRows(db: Queryable, fqdns: string[], deadlineMs: number): Promise<number> {
  return await db.execute(
    {
      name: "remove from the watch list",
      text: `DELETE FROM public.intent_current WHERE fqdn OPERATOR(pg_catalog.=) ANY ($1::text[])`,
      values: [fqdns],
    },
    deadlineMs,
  );
}
