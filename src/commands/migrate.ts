import { readConfig } from "../config.ts";
import { migrateDatabase } from "../db/open.ts";

/** Applies schema.sql to the configured database. */
export async function migrate(options: { embedded: boolean }): Promise<void> {
  const description = await migrateDatabase(readConfig(process.env, options));
  console.log(`The schema is up to date: ${description}`);
}
