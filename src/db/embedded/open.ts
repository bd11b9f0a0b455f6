import { chmodSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { createConnection } from "node:net";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { unixSocketPath } from "../dsn.ts";
import { errorMessage } from "../errors.ts";
import { DirLockedError, lockDir } from "./dir-lock.ts";
import type { ForWorker, FromWorker } from "./worker.ts";

/** The embedded database cannot be opened, or has gone down. The message says what to do. */
export class EmbeddedError extends Error {
  override readonly name = "EmbeddedError";
}

/** A running embedded database. */
export interface Embedded {
  /** For `parseDsn`: `postgres://postgres@/postgres?host=<folder>`. */
  dsn: string;
  /** Ends every connection, writes a checkpoint, stops the worker and gives the folder free. May be called twice. */
  close(): Promise<void>;
}

const lockPollMs = 250;
const port = 5432;
/** `sun_path` of unix(7), without its final NUL; macOS has 104 bytes. */
const maxSocketPathBytes = process.platform === "linux" ? 107 : 103;

/** Where the files of the embedded database are. */
const filesIn = (dataDir: string): string => join(dataDir, "pgdata");

/** Whether there is an embedded database in `dataDir`, running or not. */
export function embeddedExists(dataDir: string): boolean {
  return existsSync(filesIn(dataDir));
}

/** The DSN of the embedded database in `dataDir`, whether it runs or not. */
export function embeddedDsn(dataDir: string): string {
  return `postgres://postgres@/postgres?host=${encodeURIComponent(resolve(dataDir))}`;
}

/**
 * Runs Postgres (PGlite) in a worker thread over the files in `dataDir`, served on a Unix socket there, so that also
 * `psql -h <dataDir> -U postgres postgres` reaches it. The schema is not applied. The first start takes seconds.
 *
 * What is committed survives a kill of the process and, as far as the disk obeys fsync, a power cut.
 *
 * @param options.onFailure called at most once, when the database goes down by itself after it was opened
 * @param options.patienceMs how long to wait where another process has the folder; default: not at all
 * @param options.log gets the server's own log lines
 * @throws EmbeddedError
 */
export async function openEmbedded(options: {
  dataDir: string;
  patienceMs?: number;
  onFailure?: (error: EmbeddedError) => void;
  log?: (line: string) => void;
}): Promise<Embedded> {
  const dataDir = resolve(options.dataDir);
  const socketPath = unixSocketPath(dataDir, port);
  if (Buffer.byteLength(socketPath) > maxSocketPathBytes) {
    throw new EmbeddedError(
      `the folder ${dataDir} is too deep: the path of a Unix socket in it would be longer than ` +
        `${maxSocketPathBytes} bytes; choose a shorter one (DATA_DIR)`,
    );
  }
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const unlock = await lock(dataDir, socketPath, options.patienceMs ?? 0);
  try {
    rmSync(socketPath, { force: true });
    const path = filesIn(dataDir);
    // In a worker of its own, because initdb's memory stays with the worker: half a gigabyte.
    if (!existsSync(path)) await startWorker({ task: "create", path }, options.log);
    const worker = await startWorker({ task: "serve", path, socketPath }, options.log);
    chmodSync(socketPath, 0o600);
    return supervise(worker, dataDir, unlock, options.onFailure);
  } catch (error) {
    unlock();
    throw error;
  }
}

/** Waits, at most `patienceMs`, for a command that has the folder for a moment. */
async function lock(dataDir: string, socketPath: string, patienceMs: number): Promise<() => void> {
  const endMs = performance.now() + patienceMs;
  for (;;) {
    const found = await tryLock(dataDir, socketPath);
    if (typeof found === "function") return found;
    if (performance.now() >= endMs) {
      throw new EmbeddedError(
        `the embedded database in ${dataDir} is in use by ${found}: ` +
          `stop it, choose another folder (DATA_DIR), or connect to it at ${socketPath}`,
      );
    }
    await sleep(lockPollMs);
  }
}

/** The function that gives the folder free again, or who has it. */
async function tryLock(dataDir: string, socketPath: string): Promise<(() => void) | string> {
  try {
    const unlock = lockDir(dataDir);
    // An owner in another container is invisible by its process id, but its socket answers.
    if (!(await answers(socketPath))) return unlock;
    unlock();
    return "a process of another container";
  } catch (error) {
    if (!(error instanceof DirLockedError)) throw error;
    return `process ${error.pid}`;
  }
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(socketPath);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** The worker runs compiled; sources under test use the build's. */
function workerUrl(): URL {
  const folder = import.meta.url.endsWith(".ts") ? "../../../dist/db/embedded/" : "./";
  return new URL(`${folder}worker.js`, import.meta.url);
}

/** Settles when the worker is ready (`serve`) or done (`create`). */
function startWorker(workerData: ForWorker, log: ((line: string) => void) | undefined): Promise<Worker> {
  // Node.js would pipe both for us, and look at `process.stdout` for it: see `cli.ts`.
  const worker = new Worker(workerUrl(), { workerData, execArgv: [], stdout: true, stderr: true });
  for (const output of [worker.stdout, worker.stderr])
    output.on("data", (text) => process.stderr.write(text));
  let cause = "";
  return new Promise((resolve, reject) => {
    worker.on("message", (message: FromWorker) => {
      if (message.type === "ready") return resolve(worker);
      cause = message.line;
      log?.(message.line);
    });
    worker.on("error", (error) => {
      cause = errorMessage(error);
    });
    worker.on("exit", (exitCode) => {
      if (exitCode === 0) resolve(worker);
      else reject(new EmbeddedError(`the embedded database does not start: ${cause}`));
    });
  });
}

function supervise(
  worker: Worker,
  dataDir: string,
  unlock: () => void,
  onFailure: ((error: EmbeddedError) => void) | undefined,
): Embedded {
  let closing = false;
  let cause = "";
  worker.on("error", (error) => {
    cause = `: ${errorMessage(error)}`;
  });
  const exited = new Promise<void>((resolve) => {
    worker.once("exit", () => {
      unlock();
      resolve();
      if (!closing) onFailure?.(new EmbeddedError(`the embedded database in ${dataDir} went down${cause}`));
    });
  });
  return {
    dsn: embeddedDsn(dataDir),
    close() {
      closing = true;
      worker.postMessage("stop");
      return exited;
    },
  };
}
