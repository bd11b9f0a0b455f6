import type { Logger } from "../log.ts";
import { interruptibleSleep } from "../loop.ts";
import { applySchema } from "./apply-schema.ts";
import { checkSchema, SchemaError } from "./check-schema.ts";
import { hostLabel, parseDsn } from "./dsn.ts";
import { openEmbedded } from "./embedded/open.ts";
import { errorKind, errorMessage } from "./errors.ts";
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

const deadlineMs = 10_000;
const schemaDeadlineMs = 120_000;
const retryMs = 1_000;
/** A command, such as `inventory add --embedded`, may have the embedded database for a moment. */
const lockPatienceMs = 5_000;

/**
 * Opens the configured database, the embedded one or Postgres. The embedded one gets its schema applied.
 *
 * @param onFailure called when the embedded database ends by itself.
 */
export async function openDatabase(
  { postgresDsn, dataDir }: DatabaseLocation,
  onFailure: (error: Error) => void,
): Promise<OpenDatabase<SessionPool>> {
  if (postgresDsn !== null) {
    const dsn = parseDsn(postgresDsn);
    const db = openPool(dsn);
    return {
      db,
      description: `postgres ${dsn.hosts.map(hostLabel).join(",")}/${dsn.database ?? ""}`,
      warnings: dsn.warnings,
      close: () => db.end(),
    };
  }
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

/**
 * Waits until the database answers, at most `patienceMs`, and checks that it has what the service needs.
 *
 * @throws DatabaseUnusableError when it does not answer in time, refuses the service for good, or lacks something; the
 * signal's reason when it is aborted.
 */
export async function waitUntilUsable(
  db: Database,
  options: { patienceMs: number; log: Logger; signal: AbortSignal },
): Promise<void> {
  const { patienceMs, log, signal } = options;
  const endMs = performance.now() + patienceMs;
  for (let attempt = 1; ; attempt += 1) {
    try {
      await checkSchema(db, Math.min(deadlineMs, Math.max(endMs - performance.now(), 1)));
      return;
    } catch (error) {
      if (error instanceof SchemaError) throw new DatabaseUnusableError(error.message);
      if (errorKind(error) === "fatal") {
        throw new DatabaseUnusableError(
          `the database refuses certwatch: ${errorMessage(error)}. Check POSTGRES_DSN`,
        );
      }
      signal.throwIfAborted();
      if (performance.now() + retryMs > endMs) {
        throw new DatabaseUnusableError(
          `the database did not become reachable within ${patienceMs / 1000} s: ${errorMessage(error)}. Is it running, and is POSTGRES_DSN right?`,
        );
      }
      if (attempt === 1)
        log.warn({ error: errorMessage(error) }, "the database cannot be reached yet, trying for a minute");
      await interruptibleSleep(retryMs, signal);
    }
  }
}
