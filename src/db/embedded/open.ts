import { existsSync, mkdirSync, rmSync } from "node:fs";
import { createConnection } from "node:net";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { unixSocketPath } from "../dsn.ts";
import { errorMessage } from "../errors.ts";
import { DirLockedError, lockDir } from "./dir-lock.ts";
import type { ForWorker, FromWorker } from "./worker.ts";

/** Says that the embedded database cannot be opened, or went down. The message says what to do. */
export class EmbeddedError extends Error {
  override readonly name = "EmbeddedError";
}

/** A running embedded database. */
export interface Embedded {
  /** The database's DSN, for `parseDsn`: `postgres://postgres@/postgres?host=<folder>`. */
  dsn: string;
  /** Closes all connections, writes a checkpoint, stops the worker and unlocks the folder. Calling it twice is safe. */
  close(): Promise<void>;
}

const lockPollMs = 250;
const port = 5432;
/**
 * The longest path of a Unix socket, bytes: the length of `sun_path` (unix(7)) without the final NUL. On macOS
 * `sun_path` has 104 bytes.
 */
const maxSocketPathBytes = process.platform === "linux" ? 107 : 103;

/** The folder with the files of the embedded database. */
const filesIn = (dataDir: string): string => join(dataDir, "pgdata");

/** Whether `dataDir` has an embedded database, running or not. */
export function embeddedExists(dataDir: string): boolean {
  return existsSync(filesIn(dataDir));
}

/** Returns the DSN of the embedded database in `dataDir`. The database need not run. */
export function embeddedDsn(dataDir: string): string {
  return `postgres://postgres@/postgres?host=${encodeURIComponent(resolve(dataDir))}`;
}

/**
 * Runs Postgres (PGlite) in a worker thread, on the files in `dataDir`. Clients reach this Postgres through a Unix
 * socket in the same folder, e.g. with `psql -h <dataDir> -U postgres postgres`. Does not apply the schema. The first
 * start takes seconds.
 *
 * A commit survives if the process is killed. It also survives a power cut, if the disk obeys fsync.
 *
 * @param options.onFailure called at most once, if the database goes down by itself after it was opened
 * @param options.patienceMs how long to wait while another process holds the folder; by default not at all
 * @param options.log gets the log lines of Postgres
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
    // initdb takes half a gigabyte of memory, which its worker never gives back. So a worker of its own runs initdb.
    if (!existsSync(path)) await startWorker({ task: "create", path }, options.log);
    const worker = await startWorker({ task: "serve", path, socketPath }, options.log);
    return supervise(worker, dataDir, unlock, options.onFailure);
  } catch (error) {
    unlock();
    throw error;
  }
}

/** Locks the folder, and waits `patienceMs` at most if it is locked. Returns the function that unlocks the folder. */
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

/** Returns the function that unlocks the folder, or words that name its holder if somebody else holds the folder. */
async function tryLock(dataDir: string, socketPath: string): Promise<(() => void) | string> {
  try {
    const unlock = lockDir(dataDir);
    // A process in another container cannot be seen by its id, but its socket answers.
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

/** Returns the URL of the worker's compiled file. Tests, which run the sources, use the file of the last build. */
function workerUrl(): URL {
  const folder = import.meta.url.endsWith(".ts") ? "../../../dist/db/embedded/" : "./";
  return new URL(`${folder}worker.js`, import.meta.url);
}

/** Starts a worker. Resolves when the worker is ready (task `serve`), or has finished (task `create`). */
function startWorker(workerData: ForWorker, log: ((line: string) => void) | undefined): Promise<Worker> {
  // Without `stdout` and `stderr` here, Node.js uses `process.stdout`, which makes the log slow: see `cli/main.ts`.
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
