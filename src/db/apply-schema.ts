import { readFileSync } from "node:fs";
import type { Database } from "./pool.ts";

/** `schema.sql` is in the root of the package, two levels above both `src/db` and `dist/db`. */
const schemaFile = new URL("../../schema.sql", import.meta.url);

/** Applies `schema.sql`. Applying it again is safe. The role must be allowed to create tables. */
export async function applySchema(db: Database, deadlineMs: number): Promise<void> {
  await db.query({ name: "apply the schema", text: readFileSync(schemaFile, "utf8") }, deadlineMs);
}
