import { applySchema } from "./apply-schema.ts";
import { hostLabel, parseDsn } from "./dsn.ts";
import { openEmbedded } from "./embedded/open.ts";
import { type Database, openPool, type SessionPool } from "./pool.ts";

/** The database cannot be used. The message says what to do. */
export class DatabaseUnusableError extends Error {
  override readonly name = "DatabaseUnusableError";
}

/** Which database: Postgres by its DSN, or where that is `null` the embedded one in `dataDir`. */
export interface DatabaseLocation {
  postgresDsn: string | null;
  dataDir: string;
}

export interface OpenDatabase<Db extends Database = Database> {
  db: Db;
  /** Where it is, as it may be logged. */
  description: string;
  /** What of the DSN was passed over. */
  warnings: string[];
  close(): Promise<void>;
}

const schemaDeadlineMs = 120_000;
/** A command, such as `inventory add --embedded`, may have the embedded database for a moment. */
const lockPatienceMs = 5_000;

/**
 * Opens the configured database, the embedded one or Postgres. The embedded one gets its schema applied; Postgres is not
 * connected to yet.
 *
 * @param onFailure called when the embedded database ends by itself.
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
