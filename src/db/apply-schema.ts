import { readFileSync } from "node:fs";
import type { Database } from "./pool.ts";

/** schema.sql stands in the package's root, two levels above both `src/db` and `dist/db`. */
const schemaFile = new URL("../../schema.sql", import.meta.url);

/** Applies schema.sql, which can be done again and again. Needs a role that may create tables. */
export async function applySchema(db: Database, deadlineMs: number): Promise<void> {
  await db.query({ name: "apply the schema", text: readFileSync(schemaFile, "utf8") }, deadlineMs);
}
