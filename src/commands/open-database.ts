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
