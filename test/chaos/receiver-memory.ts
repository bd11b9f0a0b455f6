import { readFileSync } from "node:fs";
import type { Program } from "../support/program.ts";

/** Watches a process from outside: its memory, and whether it goes on reading the feed. */
export interface Watch {
  /** The most memory that it had, bytes. */
  readonly peakRssBytes: number;
  /** The longest time between two scrapes that showed more messages, milliseconds. */
  readonly longestStillMs: number;
  /** Messages read since the start. */
  readonly messages: number;
  stop(): Promise<void>;
}

const intervalMs = 200;

/** Somebody has to send messages all the time, or it stands still. */
export function watchOver(program: Program): Watch {
  let peakRssBytes = 0;
  let longestStillMs = 0;
  let messages = 0;
  let lastChangeMs = performance.now();
  let isOver = false;
  const scrape = async () => {
    // It may be busy, or about to be ended.
    const metrics = await program.metrics().catch(() => new Map<string, number>());
    const now = metrics.get('certwatch_ct_messages_total{type="certificate_update"}') ?? 0;
    if (now > messages) {
      longestStillMs = Math.max(longestStillMs, performance.now() - lastChangeMs);
      lastChangeMs = performance.now();
      messages = now;
    }
    peakRssBytes = Math.max(peakRssBytes, rssBytes(program.pid));
  };
  const running = (async () => {
    while (!isOver) {
      await scrape();
      await new Promise((resolve) => setTimeout(resolve, intervalMs));
    }
  })();
  return {
    get peakRssBytes() {
      return peakRssBytes;
    },
    get longestStillMs() {
      return Math.max(longestStillMs, performance.now() - lastChangeMs);
    },
    get messages() {
      return messages;
    },
    async stop() {
      isOver = true;
      await running;
    },
  };
}

/** Resident memory of a process, from /proc; 0 where there is no such file. */
export function rssBytes(pid: number): number {
  try {
    return 1024 * Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

export const mebibytes = (bytes: number): number => Math.round(bytes / 2 ** 20);

/**
 * Sends a message now and then, until the function that it returns is called; that gives how many.
 *
 * @param send is told how many there were before.
 */
export function keepSending(send: (sent: number) => Promise<void>, everyMs: number): () => Promise<number> {
  let isOver = false;
  let sent = 0;
  const running = (async () => {
    while (!isOver) {
      await send(sent);
      sent += 1;
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  })();
  return async () => {
    isOver = true;
    await running;
    return sent;
  };
}
