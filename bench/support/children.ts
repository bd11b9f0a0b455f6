import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { endChildren, track } from "../../test/support/children.ts";
import { type LogLine, type Program, runProgram, spawnProgram } from "../../test/support/program.ts";
import type { CorpusOptions } from "./corpus.ts";
import type { Command, SentTimes } from "./sender.ts";

/** The project's root: the benchmarks are compiled into node_modules/.cache/certwatch-bench. */
export const projectFolder = fileURLToPath(new URL("../../../../../", import.meta.url));
/** `CERTWATCH_CLI`: another build, to hold it against this one. */
const script = process.env.CERTWATCH_CLI ?? `${projectFolder}dist/cli.js`;

/** Ends all of them, the last one first. */
export const stopAll = (): Promise<void> => endChildren("SIGTERM");

/** A process of `support/`, with an IPC channel. */
function startHelper(name: string, args: string[] = []): ChildProcess {
  return track(fork(fileURLToPath(new URL(`./${name}.js`, import.meta.url)), args));
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

/** A `certwatch run` that is connected to its feed. */
export interface Service extends Program {
  /** From the start of the process to the line that says that the feed is connected, ms. */
  connectedAfterMs: number;
}

/** Starts the compiled `certwatch run`; resolves when it is connected to its feed. Its errors are passed on. */
export async function startService(env: Record<string, string>): Promise<Service> {
  const startMs = performance.now();
  const onLine = (line: LogLine) => {
    if (line.level === "error" || line.level === "fatal") process.stderr.write(`${JSON.stringify(line)}\n`);
  };
  const program = spawnProgram(["run"], { API_PORT: "0", ...env }, { script, onLine });
  await program.waitForLog("connected to the feed");
  return Object.assign(program, { connectedAfterMs: performance.now() - startMs });
}

/** Runs a command of certwatch to its end. */
export async function runCommand(args: string[], env: Record<string, string>): Promise<void> {
  const { status, output } = await runProgram(args, env, { script });
  if (status !== 0) throw new Error(`certwatch ${args.join(" ")} ended with status ${status}:\n${output}`);
}
