import { readdirSync, readFileSync } from "node:fs";

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

/** The most memory that the process ever had resident, MB of 10^6 bytes. */
export function peakResidentMb(pid: number): number {
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return (Number(kilobytes) * 1024) / 1e6;
}
