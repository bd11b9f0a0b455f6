import { isatty } from "node:tty";
import { type Logger, pino } from "pino";
import { build } from "pino-pretty";
import { settledWithin } from "./loop.ts";
import { escaped } from "./terminal.ts";

export type { Logger } from "pino";

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";

/** Characters that JSON does not escape and that a terminal acts on: DEL, C1 controls, bidi and format characters, line
 * separators. */
const actedOn = /[\x7f-\x9f\p{Cf}\p{Zl}\p{Zp}]/gu;

/**
 * Memory for lines that the reader of standard output has not taken yet. When it is full, new lines are lost. A reader
 * that keeps up never lets lines wait.
 */
const maxWaitingBytes = 64 * 1024 * 1024;

/**
 * Makes the logger: JSON lines on standard output, readable lines where standard output is a terminal. Lines are
 * written in the background within milliseconds, so that a slow reader does not hold up the feed. All lines are written
 * before the process ends by itself; `kill -9` can lose the last ones.
 *
 * Text from certificates and servers goes into fields, never into the message. Fields are escaped, so that no text acts
 * on a terminal.
 */
export function createLogger(level: LogLevel): Logger {
  const options = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime };
  // Not `process.stdout.isTTY`: see `cli/main.ts`.
  if (!isatty(1)) {
    return pino(
      {
        ...options,
        formatters: { level: (label) => ({ level: label }) },
        hooks: { streamWrite: (line) => line.replace(actedOn, (character) => escaped(character)) },
      },
      // Without `minLength`, pino's `flush` returns before the lines are written.
      pino.destination({ dest: 1, sync: false, minLength: 1, maxLength: maxWaitingBytes }),
    );
  }
  return pino(
    // pino-pretty parses the line and prints the values, which removes one level of escapes: so there are two.
    {
      ...options,
      hooks: { streamWrite: (line) => line.replace(actedOn, (character) => escaped(character, "\\\\")) },
    },
    build({ sync: true, colorize: true, translateTime: "SYS:HH:MM:ss", ignore: "hostname" }),
  );
}

/**
 * How long to wait for a slow reader of standard output before lines are dropped. Generous on purpose: if a supervisor
 * kills us while we wait, no more is lost than if we had not waited.
 */
const flushPatienceMs = 60_000;

/**
 * Waits until all lines so far are written. Needed before logging more than {@link maxWaitingBytes} at once.
 *
 * @returns false where the reader of standard output did not take them in time.
 */
export async function flushed(log: Logger): Promise<boolean> {
  let isWritten = false;
  const written = new Promise<void>((resolve) => {
    log.flush(() => {
      isWritten = true;
      resolve();
    });
  });
  await settledWithin(written, flushPatienceMs);
  return isWritten;
}

/** A logger for the last copy of something: its error lines are written whatever `LOG_LEVEL` says. */
export const lossLog = (log: Logger): Logger => log.child({}, { level: "error" });

/** A kind of line that was written lately: until when it is silent, and how many lines were left out since. */
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
