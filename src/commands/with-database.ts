import { readConfig } from "../config.ts";
import { describeTable, type TableDescription } from "../db/describe-table.ts";
import { embeddedExists } from "../db/embedded/open.ts";
import type { Database } from "../db/pool.ts";
import type { Queryable } from "../db/statement.ts";
import { RefusedError } from "./errors.ts";
import { openForCommand } from "./open-database.ts";

/** The flags of every command that uses a database. */
export interface DatabaseFlags {
  embedded: boolean;
}

/** The deadline of a statement for which a person waits. Its tables may be large. */
export const commandDeadlineMs = 60_000;

/**
 * Opens the configured database (see `openForCommand`), runs `work` on it, and closes it.
 *
 * @param options.mayCreate whether to make an embedded database if there is none.
 * @throws ConfigError, DatabaseUnusableError, EmbeddedError, DsnError
 */
export async function withDatabase<T>(
  options: DatabaseFlags & { mayCreate: boolean },
  work: (db: Database, description: string) => Promise<T>,
): Promise<T> {
  const config = readConfig(process.env, options);
  if (config.embedded && options.mayCreate && !embeddedExists(config.dataDir)) {
    console.error(`Making a new database in ${config.dataDir}, which takes some seconds ...`);
  }
  const database = await openForCommand(config, options);
  try {
    return await work(database.db, database.description);
  } finally {
    await database.close();
  }
}

/**
 * Returns the description of an upstream table to which a command is about to write.
 *
 * @throws RefusedError if the table does not exist, is no table, or lacks one of `columns`.
 */
export async function upstreamTable(
  db: Queryable,
  table: "public.certs" | "public.intent_current",
  columns: string[],
): Promise<TableDescription> {
  const found = await describeTable(db, table, commandDeadlineMs);
  if (found === null) {
    throw new RefusedError(`there is no ${table}: create the tables with "certwatch migrate"`);
  }
  if (found.kind === "other") {
    throw new RefusedError(
      `${table} is a ${found.kindName} of an upstream system: make the change there, certwatch only reads it`,
    );
  }
  const missing = columns.filter((column) => !found.columns.includes(column));
  if (missing.length > 0) {
    throw new RefusedError(
      `${table} has no column ${missing.join(", ")}: add what is missing as schema.sql has it, or make the change in the system that the table belongs to`,
    );
  }
  return found;
}
