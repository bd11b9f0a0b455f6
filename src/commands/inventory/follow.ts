import { EmbeddedError } from "../../db/embedded/open.ts";
import { errorKind, errorMessage } from "../../db/errors.ts";
import { DatabaseUnusableError } from "../../db/open.ts";
import type { InventoryCertificate } from "../../inventory/certificate-file.ts";
import { interruptibleSleep, Loop } from "../../loop.ts";
import { counted } from "../../terminal.ts";
import { UsageError } from "../errors.ts";
import { withDatabase } from "../with-database.ts";
import { type AddOptions, AddReport, addToInventory, inventoryTable } from "./add.ts";
import { type FoundFile, findFiles, readFound, standardInput } from "./files.ts";
import { FolderWatchers } from "./folder-watchers.ts";

/** How long to wait after a change: a renewal writes several files, which are then read together. */
const settleMs = 250;
/** How soon a file that could not be read as a certificate is read again: the file may be incomplete. */
const unsettledMs = 1_000;
/** How soon all files are looked at again, even without an event: network file systems, for example, send no events. */
const rescanMs = 30_000;
const filesPerBatch = 100;

/**
 * Does what `inventoryAdd` does, then adds certificates that appear or change, until `signal` is aborted. While the
 * database is unreachable, tries again after 30 s at most. A file counts as read only when its certificates are stored.
 *
 * @returns the exit status, 0.
 * @throws errors that do not go away with time: UsageError, RefusedError, and a database error that is not retryable.
 */
export async function inventoryFollow(
  paths: string[],
  options: AddOptions & { signal: AbortSignal; rescanMs?: number },
): Promise<number> {
  if (paths.includes(standardInput)) throw new UsageError("standard input (-) cannot be watched");
  await withDatabase({ ...options, mayCreate: true }, inventoryTable).catch(unlessTransient);
  const follower = new Follower(paths, options);
  await new Promise<void>((resolve, reject) => {
    const loop = new Loop({
      name: "inventory watch",
      step: (signal) => follower.step(signal, () => loop.wake()),
      onError: (error) => {
        try {
          unlessTransient(error);
        } catch {
          void loop.stop().then(() => reject(error));
        }
      },
    });
    const stop = () => void loop.stop().then(resolve);
    options.signal.addEventListener("abort", stop, { once: true });
    if (options.signal.aborted) stop();
    else loop.start();
  }).finally(() => follower.close());
  return 0;
}

/**
 * Prints an error that may go away with time: the database is unreachable, or a service is about to take or leave the
 * embedded database. Throws any other error.
 */
function unlessTransient(error: unknown): void {
  const isTransient =
    error instanceof EmbeddedError ||
    (error instanceof DatabaseUnusableError && errorKind(error.cause) === "retryable");
  if (!isTransient) throw error;
  console.error(`${errorMessage(error)} Will try again.`);
}

class Follower {
  readonly #paths: string[];
  readonly #options: AddOptions & { rescanMs?: number };
  readonly #report = new AddReport();
  readonly #watchers = new FolderWatchers();
  /** The signature, by path, of each file whose certificates are stored or whose problem was reported. */
  #done = new Map<string, string>();
  /** The signature, by path, of each file that could not be read as a certificate at the last look. */
  #unsettled = new Map<string, string>();
  #isFirst = true;
  #reported = new Set<string>();

  constructor(paths: string[], options: AddOptions & { rescanMs?: number }) {
    this.#paths = paths;
    this.#options = options;
  }

  close(): void {
    this.#watchers.close();
  }

  /** Looks at all paths once. Returns the milliseconds to wait for the next look: see `LoopOptions.step`. */
  async step(signal: AbortSignal, wake: () => void): Promise<number> {
    if (!this.#isFirst) await interruptibleSleep(settleMs, signal);
    const { files, folders, problems } = await findFiles(this.#paths);
    const { areNew, problems: unwatched } = this.#watchers.watch(folders, wake);
    this.#reportNew([...problems, ...unwatched]);
    const present = new Set(files.map(({ path }) => path));
    for (const path of this.#done.keys()) if (!present.has(path)) this.#done.delete(path);
    this.#unsettled = new Map([...this.#unsettled].filter(([path]) => present.has(path)));

    const changed = files.filter(({ path, signature }) => this.#done.get(path) !== signature);
    for (let start = 0; start < changed.length && !signal.aborted; start += filesPerBatch) {
      await this.#store(changed.slice(start, start + filesPerBatch));
    }
    if (this.#isFirst) {
      console.log(`${this.#report.summary()}. Watching ${counted(folders.length, "folder")} for more.`);
    }
    this.#isFirst = false;
    // A change in a new folder before the folder was watched caused no event, so look again at once.
    if (areNew) return 0;
    return this.#unsettled.size > 0 ? unsettledMs : (this.#options.rescanMs ?? rescanMs);
  }

  async #store(files: FoundFile[]): Promise<void> {
    const found = new Map<string, { certificate: InventoryCertificate; path: string }>();
    const settled: FoundFile[] = [];
    for (const file of files) {
      const read = await readFound(file);
      for (const certificate of read.certificates) {
        found.set(certificate.fingerprint_sha1, { certificate, path: file.path });
      }
      if (read.problems.length > 0 && this.#unsettled.get(file.path) !== file.signature) {
        this.#unsettled.set(file.path, file.signature);
        continue;
      }
      this.#unsettled.delete(file.path);
      this.#report.read(file.path, read);
      settled.push(file);
    }
    if (found.size > 0) {
      await withDatabase({ ...this.#options, mayCreate: true }, (db) =>
        addToInventory(db, [...found.values()], this.#options.source, this.#report),
      );
    }
    for (const { path, signature } of settled) this.#done.set(path, signature);
  }

  /** Prints the sentences that were not among those of the last look. */
  #reportNew(sentences: string[]): void {
    for (const sentence of sentences) if (!this.#reported.has(sentence)) this.#report.problem(sentence);
    this.#reported = new Set(sentences);
  }
}
