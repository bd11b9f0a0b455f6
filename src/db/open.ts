import { applySchema } from "./apply-schema.ts";
import { hostLabel, parseDsn } from "./dsn.ts";
import { openEmbedded } from "./embedded/open.ts";
import { type Database, openPool, type SessionPool } from "./pool.ts";

/** The database cannot be used. The message says what to do. */
export class DatabaseUnusableError extends Error {
  override readonly name = "DatabaseUnusableError";
}

/** The database to open: Postgres, or the embedded database in `dataDir` if `postgresDsn` is `null`. */
export interface DatabaseLocation {
  postgresDsn: string | null;
  dataDir: string;
}

export interface OpenDatabase<Db extends Database = Database> {
  db: Db;
  /** The place of the database, for logging: without secrets. */
  description: string;
  /** One sentence for each part of the DSN that certwatch does not use. */
  warnings: string[];
  close(): Promise<void>;
}

const schemaDeadlineMs = 120_000;
/**
 * How long to wait for the folder of the embedded database: a command such as `inventory add --embedded` may hold the
 * folder for a moment.
 */
const lockPatienceMs = 5_000;

/**
 * Opens the configured database. For Postgres, makes no connection yet. Starts the embedded database, and applies its
 * schema.
 *
 * @param onFailure called if the embedded database goes down by itself.
 */
export async function openDatabase(
  { postgresDsn, dataDir }: DatabaseLocation,
  onFailure: (error: Error) => void,
): Promise<OpenDatabase<SessionPool>> {
  return postgresDsn === null ? await openOwnDatabase(dataDir, onFailure) : openPostgres(postgresDsn);
}

function openPostgres(postgresDsn: string): OpenDatabase<SessionPool> {
  const dsn = parseDsn(postgresDsn);
  const db = openPool(dsn);
  return {
    db,
    description: `postgres ${dsn.hosts.map(hostLabel).join(",")}/${dsn.database ?? ""}`,
    warnings: dsn.warnings,
    close: () => db.end(),
  };
}

async function openOwnDatabase(
  dataDir: string,
  onFailure: (error: Error) => void,
): Promise<OpenDatabase<SessionPool>> {
  const embedded = await openEmbedded({ dataDir, patienceMs: lockPatienceMs, onFailure });
  const db = openPool(parseDsn(embedded.dsn));
  const close = async () => {
    await db.end();
    await embedded.close();
  };
  try {
    await applySchema(db, schemaDeadlineMs);
  } catch (error) {
    await close();
    throw error;
  }
  return { db, description: `embedded in ${dataDir}`, warnings: [], close };
}
