import type { ChildProcess } from "node:child_process";
import { once } from "node:events";

/** Processes that were started and have not ended, in the order of their start. They end with this process. */
const running = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** Has the child ended at the latest with this process. */
export function track<Child extends ChildProcess>(child: Child): Child {
  running.add(child);
  child.once("exit", () => running.delete(child));
  return child;
}

/** Ends all tracked processes, the last one first; resolves when all of them have ended. */
export async function endChildren(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
  for (const child of [...running].reverse()) {
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
  }
}
