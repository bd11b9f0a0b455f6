import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { PGlite } from "@electric-sql/pglite";
import { NodeFS } from "@electric-sql/pglite/nodefs";
import { EmbeddedServer } from "./server.ts";

/** The task of the worker: create an empty database and end, or serve a database until a message says stop. */
export type ForWorker =
  | { task: "create"; path: string }
  | { task: "serve"; path: string; socketPath: string };

/** The worker's messages: one for each log line of Postgres, and one `ready` as soon as clients can connect. */
export type FromWorker = { type: "ready" } | { type: "log"; line: string };

/**
 * A file system for PGlite in which fsync works. Emscripten's file system on top of Node.js has an fsync that does
 * nothing.
 */
class DurableNodeFS extends NodeFS {
  fsyncs = 0;

  override async init(pg: PGlite, options: Parameters<NodeFS["init"]>[1]): ReturnType<NodeFS["init"]> {
    const result = await super.init(pg, options);
    const preRun = (module: { FS: { filesystems: { NODEFS: { stream_ops: object } } } }) => {
      Object.assign(module.FS.filesystems.NODEFS.stream_ops, {
        fsync: (stream: { nfd?: number }) => {
          if (stream.nfd !== undefined) fsyncOrPanic(stream.nfd);
          this.fsyncs++;
          return 0;
        },
      });
    };
    result.emscriptenOpts.preRun = [...(result.emscriptenOpts.preRun ?? []), preRun as () => void];
    return result;
  }
}

/**
 * Calls fsync. After a failed fsync, written data may be lost, and a second fsync would not report the loss. So
 * Postgres panics and recovers from its log; this worker does the same.
 */
function fsyncOrPanic(fd: number): void {
  try {
    fsyncSync(fd);
  } catch (error) {
    watchServerLog(`PANIC:  could not fsync: ${(error as Error).message}`);
  }
}

/**
 * PGlite's start parameters without `-F`, which turns fsync off: commits must survive a power cut.
 */
const startParams = [
  ...PGlite.defaultStartParams.filter((parameter) => parameter !== "-F"),
  ...["-c", "wal_sync_method=fsync"], // fdatasync is an empty function in PGlite
  ...["-c", "shared_buffers=16MB"],
];

/** Creates an empty database. If this worker is killed half-way, only a draft is left, and the next call deletes it. */
async function create(path: string): Promise<void> {
  const draft = `${path}.new`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { mode: 0o700 });
  await (await open(draft)).close();
  syncTree(draft);
  renameSync(draft, path);
  syncPath(dirname(path));
}

async function serve(path: string, socketPath: string): Promise<void> {
  const db = await open(path);
  const server = new EmbeddedServer(db);
  await server.listen(socketPath);
  tell({ type: "ready" });
  // The service sends only one message, which means "stop". Signals to the process do not reach this thread.
  parentPort?.once("message", async () => {
    await server.close();
    await db.close();
    process.exit(0);
  });
}

async function open(path: string): Promise<PGlite> {
  const fs = new DurableNodeFS(path);
  const db = await PGlite.create({ fs, startParams, onStderr: watchServerLog });
  // Every start writes the control file, so Postgres must have called fsync by now. If it has not, this version of
  // PGlite does not pass fsync on to our file system: better no database than a database that loses commits.
  if (fs.fsyncs === 0) throw new Error("this version of PGlite does not ask for fsync");
  return db;
}

/**
 * In a server with many processes, FATAL ends one of them. PGlite has only one: after FATAL it would answer every
 * statement with an error for ever, so the worker ends.
 */
function watchServerLog(line: string): boolean {
  tell({ type: "log", line });
  if (/\b(FATAL|PANIC): /.test(line)) process.exit(1);
  return false; // not for PGlite's own debug output
}

function syncTree(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const child = join(path, entry.name);
    if (entry.isDirectory()) syncTree(child);
    else if (entry.isFile()) syncPath(child);
  }
  syncPath(path);
}

function syncPath(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function tell(message: FromWorker): void {
  parentPort?.postMessage(message);
}

const job = workerData as ForWorker;
if (job.task === "create") {
  await create(job.path);
  process.exit(0);
}
await serve(job.path, job.socketPath);
