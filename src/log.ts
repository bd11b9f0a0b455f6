import { isatty } from "node:tty";
import { type Logger, pino } from "pino";
import { build } from "pino-pretty";
import { settledWithin } from "./loop.ts";
import { escaped } from "./terminal.ts";

export type { Logger } from "pino";

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";

/** What JSON leaves as it is and a terminal acts on: DEL and C1 controls, bidi and format characters, line separators. */
const actedOn = /[\x7f-\x9f\p{Cf}\p{Zl}\p{Zp}]/gu;

/**
 * What the lines may take in memory that the reader of standard output has not taken yet; beyond, lines are lost. A reader
 * that keeps up never lets them wait.
 */
const maxWaitingBytes = 64 * 1024 * 1024;

/**
 * The one logger: JSON lines on standard output, readable lines where that is a terminal. Lines are written in the
 * background, within milliseconds, and all of them before the process ends by itself; a kill can take the last ones
 * along. Written at once, each would wait for the reader, and the feed with it. What comes from certificates or servers
 * goes into fields, never into the message: fields are escaped, whatever a terminal might act on included.
 */
export function createLogger(level: LogLevel): Logger {
  const options = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime };
  // Not `process.stdout.isTTY`: see `cli.ts`.
  if (!isatty(1)) {
    return pino(
      {
        ...options,
        formatters: { level: (label) => ({ level: label }) },
        hooks: { streamWrite: (line) => line.replace(actedOn, (character) => escaped(character)) },
      },
      // Without a `minLength` its `flush` waits for nothing.
      pino.destination({ dest: 1, sync: false, minLength: 1, maxLength: maxWaitingBytes }),
    );
  }
  return pino(
    // Read by pino-pretty, which writes what it has read: the escape is to outlive that.
    {
      ...options,
      hooks: { streamWrite: (line) => line.replace(actedOn, (character) => escaped(character, "\\\\")) },
    },
    build({ sync: true, colorize: true, translateTime: "SYS:HH:MM:ss", ignore: "hostname" }),
  );
}

/**
 * A reader that has not taken some megabytes by then is not waited for. Long, since whoever ends the process before loses
 * no more than not waiting would.
 */
const flushPatienceMs = 60_000;

/**
 * Resolves when the lines so far are written: for whoever logs more at a time than may wait. False where their reader
 * did not take them in time.
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

/** For what exists nowhere else once it is logged: error lines that are written whatever `LOG_LEVEL` says. */
export const lossLog = (log: Logger): Logger => log.child({}, { level: "error" });

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
