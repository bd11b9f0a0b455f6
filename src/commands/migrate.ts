import { applySchema } from "../db/apply-schema.ts";
import type { Queryable } from "../db/statement.ts";
import { planInventoryMigration } from "../inventory/plan-migration.ts";
import { RefusedError } from "./errors.ts";
import { commandDeadlineMs, type DatabaseFlags, withDatabase } from "./with-database.ts";

const schemaDeadlineMs = 120_000;
/** The longest time to build an index: the table may have many millions of rows, and old transactions may delay it. */
const buildDeadlineMs = 86_400_000;

/** Applies schema.sql to the configured database; with `inventory`, updates an existing `public.certs` instead. */
export async function migrate(options: DatabaseFlags & { inventory: boolean }): Promise<void> {
  await withDatabase({ ...options, mayCreate: true }, async (db, description) => {
    if (options.inventory) {
      await migrateInventory(db, console.log);
    } else {
      await applySchema(db, schemaDeadlineMs);
      console.log(`The schema is up to date: ${description}`);
    }
  });
}

/**
 * Adds the column and indexes that find precertificates to an existing `public.certs`. Can be interrupted and repeated.
 *
 * @param say receives a line of text for each step.
 * @throws RefusedError if `public.certs` is no plain table.
 */
export async function migrateInventory(db: Queryable, say: (line: string) => void): Promise<void> {
  const plan = await planInventoryMigration(db, commandDeadlineMs);
  if ("problem" in plan) throw new RefusedError(plan.problem);
  for (const { description, text } of plan.steps) {
    say(`public.certs: ${description}`);
    await db.execute({ name: "migrate the inventory", text }, buildDeadlineMs);
  }
  // Before ANALYZE, an expression index has no statistics, and Postgres does not use the index without them.
  await db.execute({ name: "migrate the inventory", text: "ANALYZE public.certs" }, buildDeadlineMs);
  say(
    plan.steps.length === 0
      ? "public.certs has the column tbs_sha256 and both indexes already."
      : 'public.certs is complete. Rows that were there before have no TBS hash yet: "certwatch inventory add" with their certificates adds it.',
  );
}
