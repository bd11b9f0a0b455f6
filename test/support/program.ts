import { type ChildProcess, spawn } from "node:child_process";
import { constants, existsSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";

const cli = fileURLToPath(new URL("../../dist/cli.js", import.meta.url));
/** Generous: the machine may be busy. Nothing waits for longer than the event takes. */
const patienceMs = 25_000;
const pollMs = 25;

/** Stand wherever a secret can stand in the environment of a program under test, and must never be printed. */
export const secrets = {
  dsnPassword: "dsn-pass-3f9a",
  feedPassword: "feed-pass-3f9a",
  feedToken: "feed-token-3f9a",
  webhookPassword: "hook-pass-3f9a",
  webhookPath: "hook-path-3f9a",
  webhookToken: "hook-token-3f9a",
  webhookSecret: "whsec_c2VjcmV0LW9mLXRoZS13ZWJob29rLXRlc3RzLTEyMw==",
  authorization: "Bearer authorization-3f9a",
};

/** The URL or DSN with a password in it, unless it has one, and with a query where `token` is given. */
export function withSecrets(url: string, password: string, token?: string): string {
  const [, scheme, user = "", rest] = /^(\w+:\/\/)(?:([^/@]*)@)?(.*)$/s.exec(url)!;
  const credentials = user.includes(":") ? user : `${user || "user"}:${password}`;
  return `${scheme}${credentials}@${rest}${token === undefined ? "" : `?token=${token}`}`;
}

/** The URL of a webhook, which ends in `/`, with a secret wherever one can be. */
export const secretWebhookUrl = (url: string): string =>
  withSecrets(`${url}${secrets.webhookPath}`, secrets.webhookPassword, secrets.webhookToken);

/** One line of the log. */
export type LogLine = { level: string; msg: string; time: string } & Record<string, unknown>;

/** A `certwatch` process. */
export interface Program {
  pid: number;
  /** All lines of standard output that are JSON, as they come. */
  readonly lines: readonly LogLine[];
  /** All that was printed. */
  readonly output: string;
  readonly stderr: string;
  /** Of `/healthz` and `/metrics`, from the line that is logged at start. */
  readonly apiUrl: string;
  /** The first line that fits, printed or to come. Rejects when the program ends without it. */
  waitForLog(fits: string | ((line: LogLine) => boolean)): Promise<LogLine>;
  /** The values of `/metrics` by series, as `name{label="value"}`. */
  metrics(): Promise<Map<string, number>>;
  /** Scrapes until the series has a value that fits; resolves with it. */
  waitForMetric(series: string, fits: (value: number) => boolean): Promise<number>;
  signal(signal: NodeJS.Signals): void;
  /** Resolves when the process has ended. `code` is `null` where a signal ended it. */
  exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  /** SIGTERM, then the exit status. */
  stop(): Promise<number | null>;
}

const running = new Set<ChildProcess>();
const outputs: (() => string)[] = [];

/** Starts `certwatch` with this environment and no other variables than those a process needs. */
export function spawnProgram(args: string[], env: NodeJS.ProcessEnv): Program {
  const { PATH, HOME, TMPDIR } = process.env;
  const child = spawn(process.execPath, [cli, ...args], {
    env: { PATH, HOME, ...(TMPDIR === undefined ? {} : { TMPDIR }), ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  running.add(child);
  let output = "";
  let stderr = "";
  let rest = "";
  const lines: LogLine[] = [];
  const waiters = new Set<() => void>();
  const changed = () => {
    for (const check of [...waiters]) check();
  };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
    const parts = (rest + text).split("\n");
    rest = parts.pop()!;
    for (const part of parts) if (part.startsWith("{")) lines.push(JSON.parse(part));
    changed();
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output += text;
    stderr += text;
  });
  outputs.push(() => output);
  let hasEnded = false;
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once("close", (code, signal) => {
      running.delete(child);
      hasEnded = true;
      resolve({ code, signal });
      changed();
    });
  });

  const waitForLog: Program["waitForLog"] = (wanted) => {
    const fits = typeof wanted === "string" ? (line: LogLine) => line.msg?.includes(wanted) : wanted;
    return new Promise((resolve, reject) => {
      const settle = (line: LogLine | undefined, problem: string) => {
        clearTimeout(timer);
        waiters.delete(check);
        if (line !== undefined) resolve(line);
        else reject(new Error(`${problem} without the line ${wanted}:\n${output.slice(-5_000)}`));
      };
      const check = () => {
        const line = lines.find(fits);
        if (line !== undefined || hasEnded) settle(line, "certwatch ended");
      };
      const timer = setTimeout(() => settle(undefined, `${patienceMs} ms passed`), patienceMs);
      waiters.add(check);
      check();
    });
  };
  const program: Program = {
    pid: child.pid!,
    lines,
    get output() {
      return output;
    },
    get stderr() {
      return stderr;
    },
    get apiUrl() {
      const line = lines.find(({ api }) => api !== undefined);
      if (line === undefined) throw new Error(`certwatch has not started yet:\n${output}`);
      return line.api as string;
    },
    waitForLog,
    async metrics() {
      return parseMetrics(await (await fetch(`${program.apiUrl}/metrics`)).text());
    },
    async waitForMetric(series, fits) {
      const endMs = performance.now() + patienceMs;
      for (;;) {
        const value = (await program.metrics()).get(series);
        if (value !== undefined && fits(value)) return value;
        if (performance.now() > endMs) throw new Error(`${series} is ${value}:\n${output.slice(-5_000)}`);
        await sleep(pollMs);
      }
    },
    signal: (signal) => child.kill(signal),
    exited,
    async stop() {
      child.kill("SIGTERM");
      return (await exited).code;
    },
  };
  return program;
}

/** Runs `certwatch` to its end. */
export async function runProgram(
  args: string[],
  env: NodeJS.ProcessEnv,
): Promise<Program & { code: number | null }> {
  const program = spawnProgram(args, env);
  const { code } = await program.exited;
  return Object.assign(Object.create(program) as Program, { code });
}

/** For `afterEach`: ends what still runs, and fails where anything that was printed contains a secret. */
export async function endPrograms(): Promise<void> {
  const ended = [...running].map((child) => new Promise((resolve) => child.once("close", resolve)));
  for (const child of running) child.kill("SIGKILL");
  await Promise.all(ended);
  const printed = outputs.splice(0).map((output) => output());
  for (const text of printed) expect(leaksOf(text)).toEqual([]);
}

function leaksOf(text: string): string[] {
  return Object.values(secrets)
    .map((secret) => secret.replace(/^(whsec_|Bearer )/, ""))
    .filter((secret) => text.includes(secret));
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
