import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Config } from "../config.ts";
import { parseDsn } from "../db/dsn.ts";
import { DirLockedError, lockDir } from "../db/embedded/dir-lock.ts";
import { EmbeddedError, embeddedDsn, embeddedExists } from "../db/embedded/open.ts";
import { ConnectionError, DeadlineError, errorKind, errorMessage, sqlState } from "../db/errors.ts";
import { DatabaseUnusableError, type OpenDatabase, openDatabase } from "../db/open.ts";
import { type Database, openPool } from "../db/pool.ts";

const connectDeadlineMs = 10_000;
/** A service that has the folder but does not answer yet is starting: the first start takes seconds. */
const startPatienceMs = 30_000;
const pollMs = 250;

/**
 * Opens the configured database for a command. The embedded one is reached through its socket while a service runs it,
 * and opened by the command itself while none does; its schema is then applied. What the returned database throws is
 * a `DatabaseUnusableError` that says what to do, with the database's own error as its cause.
 *
 * @param options.mayCreate whether an embedded database is made where there is none.
 * @throws DatabaseUnusableError, EmbeddedError, DsnError
 */
export async function openForCommand(config: Config, options: { mayCreate: boolean }): Promise<OpenDatabase> {
  const opened = config.embedded
    ? await openEmbeddedForCommand(config, options.mayCreate)
    : await openDatabase(config, () => {});
  return { ...opened, db: explaining(opened.db, config) };
}

async function openEmbeddedForCommand(config: Config, mayCreate: boolean): Promise<OpenDatabase> {
  const { dataDir } = config;
  const endMs = performance.now() + startPatienceMs;
  for (;;) {
    const served = await connectToService(dataDir);
    if (served !== null) return served;
    if (!mayCreate && !embeddedExists(dataDir)) {
      throw new EmbeddedError(
        `there is no embedded database in ${dataDir}: set DATA_DIR to the folder that "certwatch run --embedded" uses`,
      );
    }
    if (!isLocked(dataDir)) return await openDatabase(config, () => {});
    if (performance.now() > endMs) {
      throw new EmbeddedError(
        `the process that has the embedded database in ${dataDir} does not answer: wait until it has started, or end it`,
      );
    }
    await sleep(pollMs);
  }
}

/** `null` where nobody serves the database. */
async function connectToService(dataDir: string): Promise<OpenDatabase | null> {
  const db = openPool(parseDsn(embeddedDsn(dataDir)), { maxConnections: 1 });
  try {
    await db.query({ name: "reach the embedded database", text: "SELECT" }, connectDeadlineMs);
  } catch (error) {
    await db.end();
    const { code } = error as { code?: unknown };
    if (code === "ENOENT" || code === "ECONNREFUSED") return null;
    throw new DatabaseUnusableError(
      `the service that has the embedded database in ${dataDir} does not answer: ${errorMessage(error)}`,
      { cause: error },
    );
  }
  return { db, description: `embedded in ${dataDir}, which is in use`, warnings: [], close: () => db.end() };
}

function isLocked(dataDir: string): boolean {
  if (!existsSync(dataDir)) return false;
  try {
    lockDir(dataDir)();
    return false;
  } catch (error) {
    if (error instanceof DirLockedError) return true;
    throw error;
  }
}

function explaining(db: Database, config: Config): Database {
  const explain = (error: unknown): never => {
    throw isOfDatabase(error) ? explained(error, config) : error;
  };
  return {
    query: (sql, deadlineMs) => db.query<never>(sql, deadlineMs).catch(explain),
    execute: (sql, deadlineMs) => db.execute(sql, deadlineMs).catch(explain),
    transaction: (deadlineMs, work) => db.transaction(deadlineMs, work).catch(explain),
    end: () => db.end(),
  };
}

function isOfDatabase(error: unknown): boolean {
  return (
    sqlState(error) !== undefined ||
    error instanceof DeadlineError ||
    error instanceof ConnectionError ||
    typeof (error as { code?: unknown } | null)?.code === "string"
  );
}

function explained(error: unknown, config: Config): DatabaseUnusableError {
  const advice = adviceFor(error, config);
  return new DatabaseUnusableError(`the database: ${errorMessage(error)}${advice && `. ${advice}`}`, {
    cause: error,
  });
}

const adviceByState: Record<string, string> = {
  "42P01": 'Create the tables with "certwatch migrate"',
  "42703": 'If this is a table of certwatch\'s, bring it up to date with "certwatch migrate"',
  "42501": "Have the owner grant it to this role, or use a role in POSTGRES_DSN that may",
  "55P03": "Something else holds a lock on the table: try again later",
};

function adviceFor(error: unknown, config: Config): string {
  const state = sqlState(error);
  if (state !== undefined && adviceByState[state] !== undefined) return adviceByState[state];
  if (config.embedded) return "";
  const isUnreachable = state === undefined || errorKind(error) === "retryable" || /^(28|3D)/.test(state);
  return isUnreachable ? "Is it running, and is POSTGRES_DSN right?" : "";
}
