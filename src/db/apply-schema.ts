import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { sqlState } from "./errors.ts";
import type { Database } from "./pool.ts";

/** `schema.sql` is in the root of the package, two levels above both `src/db` and `dist/db`. */
const schemaFile = new URL("../../schema.sql", import.meta.url);
const name = "apply the schema";
/** The longest time to build one index: the table may have millions of rows, and old transactions delay the build. */
const buildDeadlineMs = 86_400_000;
/** SQLSTATEs if another migration runs at this moment: duplicate table, unique violation, deadlock. */
const conflicts = ["42P07", "23505", "40P01"];
const maxConflicts = 20;

/**
 * Applies `schema.sql`. Applying it again is safe. The role must be allowed to create tables.
 *
 * Tables and columns come in one transaction, which holds its locks for milliseconds. Each index is built after it by
 * itself, while others write to the table. If this is interrupted, the next call builds the indexes that are missing.
 */
export async function applySchema(db: Database, deadlineMs: number): Promise<void> {
  const { tables, indexes } = readSchema();
  await untilNoConflict(() => db.query({ name, text: tables }, deadlineMs));
  await untilNoConflict(() => dropUnfinished(db, deadlineMs));
  for (const text of indexes) {
    await untilNoConflict(async (isRepeated) => {
      if (isRepeated) await dropUnfinished(db, deadlineMs);
      await db.execute({ name, text }, buildDeadlineMs);
    });
  }
}

/** Returns the transaction that makes tables and columns, and the statements that build the indexes, in order. */
export function readSchema(): { tables: string; indexes: string[] } {
  const text = readFileSync(schemaFile, "utf8");
  const end = text.indexOf("\nCOMMIT;\n") + "\nCOMMIT;\n".length;
  const statements = text
    .slice(end)
    .replaceAll(/^--.*$/gm, "")
    .split(";");
  return { tables: text.slice(0, end), indexes: statements.map((one) => one.trim()).filter(Boolean) };
}

/** Repeats a step for as long as another migration is in its way. */
async function untilNoConflict(step: (isRepeated: boolean) => Promise<unknown>): Promise<void> {
  for (let conflictCount = 0; ; conflictCount += 1) {
    try {
      await step(conflictCount > 0);
      return;
    } catch (error) {
      if (!conflicts.includes(sqlState(error) ?? "") || conflictCount === maxConflicts) throw error;
      await pause(250);
    }
  }
}

/** Drops indexes that an interrupted build left invalid: `IF NOT EXISTS` would take them for good. */
async function dropUnfinished(db: Database, deadlineMs: number): Promise<void> {
  const unfinished = await db.query<{ index: string }>(
    {
      name,
      text: `SELECT pg_catalog.quote_ident(relname) AS index FROM pg_catalog.pg_index JOIN pg_catalog.pg_class ON pg_class.oid = indexrelid
             WHERE indrelid = pg_catalog.to_regclass('public.alerts')::oid AND NOT indisvalid AND relname::text LIKE 'alerts\\_%'
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index WHERE relid = indrelid)`,
    },
    deadlineMs,
  );
  for (const { index } of unfinished) {
    await db.execute({ name, text: `DROP INDEX CONCURRENTLY IF EXISTS public.${index}` }, buildDeadlineMs);
  }
}
