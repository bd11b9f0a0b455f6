import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { CorpusOptions } from "./corpus.ts";
import type { Command, SentTimes } from "./sender.ts";

/** The project's root: the benchmarks are compiled into node_modules/.cache/certwatch-bench. */
export const projectFolder = fileURLToPath(new URL("../../../../../", import.meta.url));
/** `CERTWATCH_CLI`: another build, to hold it against this one. */
const cli = process.env.CERTWATCH_CLI ?? `${projectFolder}dist/cli.js`;

/** Ended with this process, and at the end of the benchmark, in the order of their start. */
const running = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

export async function stopAll(): Promise<void> {
  for (const child of [...running].reverse()) {
    child.kill("SIGTERM");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  }
}

function track<Child extends ChildProcess>(child: Child): Child {
  running.add(child);
  child.once("exit", () => running.delete(child));
  return child;
}

/** A process of `support/`, with an IPC channel. */
function startHelper(name: string, args: string[] = [], execArgv: string[] = []): ChildProcess {
  return track(fork(fileURLToPath(new URL(`./${name}.js`, import.meta.url)), args, { execArgv }));
}

/** The next message of a child that fits. */
function answer<T>(child: ChildProcess, fits: (message: Record<string, unknown>) => boolean): Promise<T> {
  return new Promise((resolve, reject) => {
    const onMessage = (message: unknown) => {
      if (!fits(message as Record<string, unknown>)) return;
      child.off("message", onMessage).off("exit", onExit);
      resolve(message as T);
    };
    const onExit = (code: number | null) => reject(new Error(`a helper ended with status ${code}`));
    child.on("message", onMessage).once("exit", onExit);
  });
}

export interface Sender {
  pid: number;
  url: string;
  /** Mean length of a frame. */
  messageBytes: number;
  /** Waits for the next client; its number is what `send` wants. */
  nextClient(): Promise<number>;
  /**
   * Resolves when the client has worked off what was sent. The corpus is sent over and over, and a certificate for a
   * watched name is another one each time: that of the i-th message in the n-th turn through the corpus has number
   * `n * corpus.count + i`.
   */
  send(options: { to: number; count: number; ratePerSecond?: number | undefined }): Promise<SentTimes>;
}

export async function startSender(corpus: CorpusOptions): Promise<Sender> {
  const child = startHelper("sender");
  const clients: number[] = [];
  child.on("message", (message: { client?: number }) => {
    if (message.client !== undefined) clients.push(message.client);
  });
  const command = (message: Command) => child.send(message);
  const listening = answer<{ url: string; messageBytes: number }>(child, ({ url }) => url !== undefined);
  command({ corpus });
  const { url, messageBytes } = await listening;
  return {
    pid: child.pid!,
    url,
    messageBytes,
    async nextClient() {
      while (clients.length === 0) await answer(child, ({ client }) => client !== undefined);
      return clients.shift()!;
    },
    async send({ to, count, ratePerSecond }) {
      const done = answer<{ sentAt: SentTimes }>(child, (message) => message.done === to);
      command({ send: count, to, ratePerSecond });
      return (await done).sentAt;
    },
  };
}

/** A consumer of the feed that does nothing with it, or (`parse`) parses it. Resolves with its process id. */
export async function startBareConsumer(url: string, mode: "count" | "parse" = "count"): Promise<number> {
  return startHelper("bare-consumer", [url, mode]).pid!;
}

export interface Receiver {
  pid: number;
  url: string;
  /** Deliveries in all, and those since the last report. */
  report(): Promise<{ count: number; arrivals: [fingerprint: string, epochMs: number][] }>;
  /** Waits until so many deliveries have arrived in all. Resolves with when the last one did, ms since the epoch. */
  reached(count: number): Promise<number>;
}

/** A webhook receiver that answers after `delayMs`. */
export async function startReceiver({ delayMs = 0 } = {}): Promise<Receiver> {
  const child = startHelper("receiver", [String(delayMs)]);
  const { url } = await answer<{ url: string }>(child, (message) => message.url !== undefined);
  return {
    pid: child.pid!,
    url,
    async report() {
      const report = answer<{ count: number; arrivals: [string, number][] }>(
        child,
        (message) => message.arrivals !== undefined,
      );
      child.send({ report: true });
      return await report;
    },
    async reached(count) {
      const answered = answer<{ reachedAt: number }>(child, ({ reached }) => reached === count);
      child.send({ reach: count });
      return (await answered).reachedAt;
    },
  };
}

type LogLine = { msg: string; api?: string } & Record<string, unknown>;

export interface Service {
  pid: number;
  apiUrl: string;
  /** From the start of the process to the line that says that the feed is connected, ms. */
  connectedAfterMs: number;
  /** Values of `/metrics` by series. */
  metrics(): Promise<Map<string, number>>;
  /** Resolves with the first line of the log that fits, from now on. */
  nextLine(fits: (line: LogLine) => boolean): Promise<LogLine>;
  stop(): Promise<void>;
}

/** Starts the compiled `certwatch run`; resolves when it is connected to its feed. */
export async function startService(env: Record<string, string>, execArgv: string[] = []): Promise<Service> {
  const startMs = performance.now();
  const child = track(
    spawn(process.execPath, [...execArgv, cli, "run"], {
      env: { PATH: process.env.PATH, API_PORT: "0", ...env },
      stdio: ["ignore", "pipe", "inherit"],
    }),
  );
  const waiters = new Set<(line: LogLine) => void>();
  createInterface({ input: child.stdout }).on("line", (text) => {
    const line = JSON.parse(text) as LogLine & { level: string };
    if (line.level === "error" || line.level === "fatal") process.stderr.write(`${text}\n`);
    for (const waiter of [...waiters]) waiter(line);
  });
  const nextLine: Service["nextLine"] = (fits) =>
    new Promise((resolve, reject) => {
      const onExit = (code: number | null) => reject(new Error(`certwatch ended with status ${code}`));
      const waiter = (line: LogLine) => {
        if (!fits(line)) return;
        waiters.delete(waiter);
        child.off("exit", onExit);
        resolve(line);
      };
      waiters.add(waiter);
      child.once("exit", onExit);
    });
  const started = nextLine((line) => line.api !== undefined);
  const connected = nextLine(({ msg }) => msg === "connected to the feed");
  const apiUrl = (await started).api!;
  await connected;
  return {
    pid: child.pid!,
    apiUrl,
    connectedAfterMs: performance.now() - startMs,
    nextLine,
    async metrics() {
      const text = await (await fetch(`${apiUrl}/metrics`)).text();
      const samples = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
      return new Map(
        samples.map((line) => [
          line.slice(0, line.lastIndexOf(" ")),
          Number(line.slice(line.lastIndexOf(" ") + 1)),
        ]),
      );
    },
    async stop() {
      child.kill("SIGTERM");
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    },
  };
}

/** Runs a command of certwatch to its end. */
export async function runCommand(args: string[], env: Record<string, string>): Promise<void> {
  const child = track(
    spawn(process.execPath, [cli, ...args], {
      env: { PATH: process.env.PATH, ...env },
      stdio: ["ignore", 2, 2],
    }),
  );
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error(`certwatch ${args.join(" ")} ended with status ${code}`);
}
