import { setTimeout as sleep } from "node:timers/promises";
import type { Config } from "../config.ts";
import { parseDsn } from "../db/dsn.ts";
import { isDirLocked } from "../db/embedded/dir-lock.ts";
import { EmbeddedError, embeddedDsn, embeddedExists } from "../db/embedded/open.ts";
import { errorMessage } from "../db/errors.ts";
import { DatabaseUnusableError, type OpenDatabase, openDatabase } from "../db/open.ts";
import { openPool } from "../db/pool.ts";
import { withAdvice } from "./database-advice.ts";

const connectDeadlineMs = 10_000;
/** How long to wait for a service that has the folder but does not answer yet: its first start takes seconds. */
const startPatienceMs = 30_000;
const pollMs = 250;

/**
 * Opens the configured database for a command. If a service runs the embedded database, the command reaches it through
 * its socket. If no service runs it, the command itself opens it and applies its schema. If a statement fails, the
 * returned database throws a `DatabaseUnusableError` that says what to do; its cause is the database's own error.
 *
 * @param options.mayCreate whether to make an embedded database if there is none.
 * @throws DatabaseUnusableError, EmbeddedError, DsnError
 */
export async function openForCommand(config: Config, options: { mayCreate: boolean }): Promise<OpenDatabase> {
  const opened = config.embedded
    ? await openEmbeddedForCommand(config, options.mayCreate)
    : await openDatabase(config, () => {});
  return { ...opened, db: withAdvice(opened.db, config) };
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
    if (!isDirLocked(dataDir)) return await openDatabase(config, () => {});
    if (performance.now() > endMs) {
      throw new EmbeddedError(
        `the process that has the embedded database in ${dataDir} does not answer: wait until it has started, or end it`,
      );
    }
    await sleep(pollMs);
  }
}

/** Connects to the service that runs the embedded database; returns `null` if no process listens on its socket. */
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
