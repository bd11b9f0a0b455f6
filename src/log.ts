import { type Logger, pino } from "pino";
import { build } from "pino-pretty";
import type { LogLevel } from "./config.ts";

export type { Logger } from "pino";

/**
 * The one logger: JSON lines on standard output, readable lines where that is a terminal. Written synchronously, so
 * that the last line before a crash is there. What comes from certificates or servers goes into fields, never into
 * the message: fields are escaped.
 */
export function createLogger(level: LogLevel): Logger {
  const options = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime };
  if (!process.stdout.isTTY) {
    return pino({ ...options, formatters: { level: (label) => ({ level: label }) } });
  }
  return pino(
    options,
    build({ sync: true, colorize: true, translateTime: "SYS:HH:MM:ss", ignore: "hostname" }),
  );
}

/** What a rate-limited line says of those that were left out. */
interface Quiet {
  untilMs: number;
  suppressed: number;
}

/**
 * Lets one line a minute through for each kind, so that a flood of bad input or a long outage leaves the log readable.
 * Kinds are a closed set that the caller keeps small.
 */
export class RateLimitedLog {
  readonly #kinds = new Map<string, Quiet>();
  readonly #intervalMs: number;

  constructor(intervalMs = 60_000) {
    this.#intervalMs = intervalMs;
  }

  /** Calls `write` with the number of lines of this kind left out since the last one, or not at all. */
  once(kind: string, write: (suppressed: number) => void): void {
    const nowMs = performance.now();
    const quiet = this.#kinds.get(kind);
    if (quiet !== undefined && nowMs < quiet.untilMs) {
      quiet.suppressed += 1;
      return;
    }
    this.#kinds.set(kind, { untilMs: nowMs + this.#intervalMs, suppressed: 0 });
    write(quiet?.suppressed ?? 0);
  }
}
