import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const cli = fileURLToPath(new URL("../../dist/cli.js", import.meta.url));

/** What a command may need from the environment of a shell. */
const inherited = Object.fromEntries(
  ["PATH", "HOME", "TMPDIR"].flatMap((name) => (process.env[name] ? [[name, process.env[name]!]] : [])),
);

export interface Ended {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** A running certwatch, the real program. */
export interface Program {
  child: ChildProcess;
  /** Resolves when the output (both streams) so far matches, or rejects when the program ends before. */
  waitFor(pattern: RegExp): Promise<void>;
  ended: Promise<Ended>;
}

/** @param env its whole environment, besides PATH and the like. */
export function startProgram(
  args: string[],
  env: Record<string, string>,
  input: string | Buffer = "",
): Program {
  const child = spawn(process.execPath, [cli, ...args], {
    env: { ...inherited, ...env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  child.stdin!.on("error", () => {}); // it may end without reading
  child.stdin!.end(input);
  const output = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream]!.setEncoding("utf8").on("data", (chunk: string) => {
      output[stream] += chunk;
    });
  }
  const ended = once(child, "close").then(([status]) => ({ status: status as number | null, ...output }));
  const waitFor = async (pattern: RegExp) => {
    const matches = () => pattern.test(output.stdout) || pattern.test(output.stderr);
    let onData = () => {};
    const matched = new Promise<void>((resolve) => {
      onData = () => matches() && resolve();
      for (const stream of [child.stdout!, child.stderr!]) stream.on("data", onData);
      onData();
    });
    const early = ended.then(({ stdout, stderr }) => {
      if (!matches()) throw new Error(`it ended without ${pattern}:\n${stdout}${stderr}`);
    });
    await Promise.race([matched, early]);
  };
  return { child, waitFor, ended };
}

/** Runs certwatch to its end. */
export async function runProgram(
  args: string[],
  env: Record<string, string> = {},
  input: string | Buffer = "",
): Promise<Ended> {
  return await startProgram(args, env, input).ended;
}

/** DER as PEM. */
export function pem(der: Buffer, label = "CERTIFICATE"): string {
  const lines = der.toString("base64").match(/.{1,64}/g)!;
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
