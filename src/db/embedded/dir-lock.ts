import { execFileSync } from "node:child_process";
import { existsSync, linkSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** The process that holds a lock. Its id alone is not enough: the system gives the id of an ended process out again. */
interface Owner {
  pid: number;
  started: string;
}

/** Says that another living process holds the folder. */
export class DirLockedError extends Error {
  override readonly name = "DirLockedError";
  readonly pid: number;

  constructor(pid: number) {
    super(`in use by process ${pid}`);
    this.pid = pid;
  }
}

const lockName = /^lock\.(\d+)$/;

/**
 * Locks a folder for this process, even if the last owner was killed. Returns the function that unlocks the folder.
 *
 * The lock is the file `lock.<n>` with the highest n. If its owner is dead, a process takes over by creating
 * `lock.<n+1>`. `link` creates this file complete and in one step, and fails if the file exists, so exactly one of
 * several processes wins. The winner then deletes the old file. To unlock, the owner empties its file but does not
 * delete it, so that n never decreases.
 *
 * @throws DirLockedError
 */
export function lockDir(dir: string): () => void {
  const self: Owner = { pid: process.pid, started: processStart(process.pid) ?? "" };
  const draft = join(dir, `lock-draft.${process.pid}.${Math.random().toString(36).slice(2)}`);
  writeFileSync(draft, JSON.stringify(self), { mode: 0o600 });
  try {
    for (;;) {
      const generation = highestGeneration(dir);
      const owner = generation === 0 ? undefined : readOwner(join(dir, `lock.${generation}`));
      if (owner !== undefined && isAlive(owner)) throw new DirLockedError(owner.pid);
      const path = join(dir, `lock.${generation + 1}`);
      try {
        linkSync(draft, path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "EEXIST") continue; // another process was faster: look at its lock
        throw error;
      }
      removeOlder(dir, generation + 1);
      return () => writeFileSync(path, "");
    }
  } finally {
    rmSync(draft, { force: true });
  }
}

/** Whether a living process holds the folder. */
export function isDirLocked(dir: string): boolean {
  if (!existsSync(dir)) return false;
  try {
    lockDir(dir)();
    return false;
  } catch (error) {
    if (error instanceof DirLockedError) return true;
    throw error;
  }
}

function highestGeneration(dir: string): number {
  return Math.max(0, ...readdirSync(dir).map((name) => Number(lockName.exec(name)?.[1] ?? 0)));
}

function removeOlder(dir: string, generation: number): void {
  for (const name of readdirSync(dir)) {
    const own = lockName.exec(name)?.[1];
    if (own !== undefined && Number(own) < generation) rmSync(join(dir, name), { force: true });
  }
}

function readOwner(path: string): Owner | undefined {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as Owner;
  } catch {
    return undefined; // unlocked, or the next owner deleted it
  }
}

function isAlive(owner: Owner): boolean {
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
  }
  const started = processStart(owner.pid);
  return started === undefined || owner.started === "" || started === owner.started;
}

/** Returns a text that differs between two processes with the same id; undefined if the system does not provide it. */
function processStart(pid: number): string | undefined {
  try {
    if (process.platform === "linux") {
      const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
      // Field 22 is the start time. Count from the last closing parenthesis on: the command, which stands before it,
      // may contain spaces (proc_pid_stat(5)).
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      return `${boot} ${stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]}`;
    }
    return execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" }).trim();
  } catch {
    return undefined;
  }
}
