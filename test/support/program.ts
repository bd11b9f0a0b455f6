import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { constants, existsSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { endChildren, track } from "./children.ts";
import { leaksIn } from "./secrets.ts";
import { patienceMs, waitUntil } from "./wait.ts";

/** The built program. */
export const cli = fileURLToPath(new URL("../../dist/cli.js", import.meta.url));

/** One line of the log. */
export type LogLine = { level: string; msg: string; time: string } & Record<string, unknown>;

/** How a process ended: `status` is `null` where a signal ended it. */
export interface Exit {
  status: number | null;
  signal: NodeJS.Signals | null;
}

/** A `certwatch` process. */
export interface Program {
  pid: number;
  /** All lines of standard output that are JSON, as they come. */
  readonly lines: readonly LogLine[];
  readonly stdout: string;
  readonly stderr: string;
  /** All that was printed, in the order in which it came. */
  readonly output: string;
  /** Of `/healthz` and `/metrics`, from the line that is logged at start. */
  readonly apiUrl: string;
  /**
   * The first line that fits, printed or to come; from the line number `from` on where that is given. Rejects when the
   * program ends without it.
   */
  waitForLog(fits: string | ((line: LogLine) => boolean), from?: number): Promise<LogLine>;
  /** Where all that was printed matches, or will. Rejects when the program ends before. */
  waitForOutput(pattern: RegExp): Promise<RegExpExecArray>;
  /** The values of `/metrics` by series, as `name{label="value"}`; rendered after the call. */
  metrics(): Promise<Map<string, number>>;
  /** Scrapes until the series has a value that fits; resolves with it. */
  waitForMetric(series: string, fits: (value: number) => boolean): Promise<number>;
  signal(signal: NodeJS.Signals): void;
  /** Resolves when the process has ended and all its output was read. */
  exited: Promise<Exit>;
  /** SIGTERM, then the exit status. */
  stop(): Promise<number | null>;
}

export interface ProgramOptions {
  /** What stands on its standard input; nothing unless given. */
  input?: string | Buffer | undefined;
  /** What is run in place of the command line. */
  script?: string;
  /** Is told of each line of the log. */
  onLine?: (line: LogLine) => void;
}

/** Programs whose output was not searched for secrets yet. */
const started: Program[] = [];

/** Starts `certwatch` with this environment and no other variables than those a process needs. */
export function spawnProgram(
  args: string[],
  env: NodeJS.ProcessEnv,
  { input, script = cli, onLine }: ProgramOptions = {},
): Program {
  const { PATH, HOME, TMPDIR } = process.env;
  const child = track(
    spawn(process.execPath, [script, ...args], {
      env: { PATH, HOME, ...(TMPDIR === undefined ? {} : { TMPDIR }), ...env },
      stdio: [input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    }),
  );
  child.stdin?.on("error", () => {}); // it may end without reading
  child.stdin?.end(input);
  const printed = { stdout: "", stderr: "", output: "" };
  const lines: LogLine[] = [];
  let unfinished = "";
  let hasEnded = false;
  const waiters = new Set<() => void>();
  const changed = () => {
    for (const check of [...waiters]) check();
  };
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream]!.setEncoding("utf8").on("data", (text: string) => {
      printed[stream] += text;
      printed.output += text;
      if (stream === "stdout") {
        const parts = (unfinished + text).split("\n");
        unfinished = parts.pop()!;
        for (const part of parts) {
          if (!part.startsWith("{")) continue;
          lines.push(JSON.parse(part));
          onLine?.(lines.at(-1)!);
        }
      }
      changed();
    });
  }
  const exited = new Promise<Exit>((resolve) => {
    child.once("close", (status, signal) => {
      hasEnded = true;
      resolve({ status, signal });
      changed();
    });
  });

  /** Waits until `find` gives something; looks again whenever something was printed. */
  const waitFor = <T>(what: string, find: () => T | null | undefined): Promise<T> =>
    new Promise((resolve, reject) => {
      const settle = (end: () => void) => {
        clearTimeout(timer);
        waiters.delete(check);
        end();
      };
      const fail = (problem: string) =>
        settle(() => reject(new Error(`${problem} without ${what}:\n${printed.output.slice(-5_000)}`)));
      const check = () => {
        const found = find() ?? undefined;
        if (found !== undefined) settle(() => resolve(found));
        else if (hasEnded) fail("certwatch ended");
      };
      const timer = setTimeout(() => fail(`${patienceMs} ms passed`), patienceMs);
      waiters.add(check);
      check();
    });

  let lastScrapeMs = Number.NEGATIVE_INFINITY;
  const scrape = async () => {
    const text = await (await fetch(`${program.apiUrl}/metrics`)).text();
    lastScrapeMs = performance.now();
    return parseMetrics(text);
  };

  const program: Program = {
    pid: child.pid!,
    lines,
    get stdout() {
      return printed.stdout;
    },
    get stderr() {
      return printed.stderr;
    },
    get output() {
      return printed.output;
    },
    get apiUrl() {
      const line = lines.find(({ api }) => api !== undefined);
      if (line === undefined) throw new Error(`certwatch has not started yet:\n${printed.output}`);
      return line.api as string;
    },
    waitForLog(wanted, from = 0) {
      const fits = typeof wanted === "string" ? (line: LogLine) => line.msg?.includes(wanted) : wanted;
      let looked = from;
      return waitFor(`the line ${wanted}`, () => {
        for (; looked < lines.length; looked++) if (fits(lines[looked]!)) return lines[looked];
        return undefined;
      });
    },
    waitForOutput: (pattern) => waitFor(`${pattern}`, () => pattern.exec(printed.output)),
    async metrics() {
      // What was asked for within a second may be the text of before.
      await sleep(Math.max(0, lastScrapeMs + 1_000 - performance.now()));
      return scrape();
    },
    async waitForMetric(series, fits) {
      const ask = async () => (await scrape()).get(series);
      return (await waitUntil(series, ask, (value) => value !== undefined && fits(value)))!;
    },
    signal: (signal) => child.kill(signal),
    exited,
    async stop() {
      child.kill("SIGTERM");
      return (await exited).status;
    },
  };
  started.push(program);
  return program;
}

/** Runs `certwatch` to its end. */
export async function runProgram(
  args: string[],
  env: NodeJS.ProcessEnv = {},
  options?: ProgramOptions,
): Promise<Program & { status: number | null }> {
  const program = spawnProgram(args, env, options);
  const { status } = await program.exited;
  return Object.assign(Object.create(program) as Program, { status });
}

/** For `afterEach`: ends what still runs, and fails where anything that was printed contains a secret. */
export async function endPrograms(): Promise<void> {
  await endChildren("SIGKILL");
  for (const program of started.splice(0)) {
    await program.exited;
    assert.deepEqual(leaksIn(program.output), []);
  }
}

const fdinfoOf = (pid: number) => `/proc/${pid}/fdinfo/1`;

/** Where it can be told of a process whether its standard output blocks: on Linux. */
export const tellsBlocking = existsSync(fdinfoOf(process.pid));

/** Whether what the process writes waits for a slow reader; otherwise it would have to be tried again and again. */
export function isOutputBlocking(pid: number): boolean {
  const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(fdinfoOf(pid), "utf8"))![1]!;
  return (Number.parseInt(flags, 8) & constants.O_NONBLOCK) === 0;
}

/** Prometheus text exposition, the samples only. */
export function parseMetrics(text: string): Map<string, number> {
  const samples = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    samples.map((line) => [
      line.slice(0, line.lastIndexOf(" ")),
      Number(line.slice(line.lastIndexOf(" ") + 1)),
    ]),
  );
}
