import { execFile } from "node:child_process";
import { mkdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
/** The Go module of these tests. */
export const moduleFolder = fileURLToPath(new URL("go/", import.meta.url));
/** Where built programs stay from run to run. */
export const cacheFolder = fileURLToPath(new URL("../../node_modules/.cache/certwatch/", import.meta.url));

/** Runs `go` in the module of these tests and returns what it writes. */
export async function go(...args: string[]): Promise<string> {
  // An older Go fetches the one that go.mod asks for, also where the distribution turned that off.
  const env = { GOTOOLCHAIN: "auto", ...process.env };
  return (await run("go", args, { cwd: moduleFolder, env })).stdout.trim();
}

/**
 * Builds a program in the versions that `go/go.mod` pins, through the Go module proxy, and returns the path of the
 * binary in the cache folder; `null` where the machine has no `go`.
 */
export async function goBuild(packagePath: string, name: string): Promise<string | null> {
  await mkdir(cacheFolder, { recursive: true });
  const binary = join(cacheFolder, name);
  const unfinished = `${binary}.${process.pid}`;
  try {
    await go("build", "-trimpath", "-o", unfinished, packagePath);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  await rename(unfinished, binary);
  return binary;
}
