import { readdirSync, readFileSync } from "node:fs";
import { childrenOf } from "../../test/support/postgres.ts";

/**
 * CPU time of all threads of a process so far, microseconds (Linux: `schedstat`, which counts nanoseconds where
 * `/proc/<pid>/stat` counts hundredths of a second). Threads that ended are not in it; Node.js keeps its own.
 */
export function cpuMicroseconds(pid: number): number {
  let nanoseconds = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]);
  }
  return nanoseconds / 1000;
}

/** Of `/proc/<pid>/stat`, whatever the machine's own clock does (`USER_HZ`). */
const ticksPerSecond = 100;

/**
 * CPU time so far of a process, of its children, and of those of its children that have ended, microseconds. With
 * PostgreSQL's postmaster: of the whole server.
 */
export function familyCpuMicroseconds(pid: number): number {
  let microseconds = cpuMicroseconds(pid);
  for (const child of childrenOf(pid)) {
    try {
      microseconds += cpuMicroseconds(child);
    } catch (error) {
      // It ended meanwhile: what it used is among what follows.
      if (!["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    }
  }
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [endedUser, endedSystem] = fields.slice(13, 15).map(Number);
  return microseconds + ((endedUser! + endedSystem!) / ticksPerSecond) * 1e6;
}

/** The most memory that the process ever had resident, MB of 10^6 bytes. */
export function peakResidentMb(pid: number): number {
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return (Number(kilobytes) * 1024) / 1e6;
}
