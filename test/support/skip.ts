import { execFileSync } from "node:child_process";
import { appendFileSync } from "node:fs";
import { describe, test } from "vitest";
import { SKIPPED_FILE_VARIABLE } from "./skip-file.ts";

/**
 * A suite that needs something of the machine (a program, a server). Where it is missing, the suite is skipped and
 * the run says so in its last lines; with `CI=true` the suite fails instead.
 *
 * @param missing why it cannot run, as in "no PostgreSQL on this machine"; undefined: it can
 */
export function describeIfAvailable(name: string, missing: string | undefined, body: () => void): void {
  if (missing === undefined) {
    describe(name, body);
  } else if (process.env.CI === "true") {
    test(name, () => {
      throw new Error(`there is ${missing}, and with CI=true nothing is skipped`);
    });
  } else {
    noteSkipped(name, missing);
    describe.skip(name, body);
  }
}

/** Why the program cannot be used, in the form that `describeIfAvailable` wants; undefined: it can. */
export function missing(program: string, versionArgument = "--version"): string | undefined {
  try {
    execFileSync(program, [versionArgument], { stdio: "pipe" });
    return undefined;
  } catch {
    return `no ${program} on this machine`;
  }
}

function noteSkipped(name: string, missing: string): void {
  const line = `SKIPPED: ${name}, because there is ${missing}\n`;
  const file = process.env[SKIPPED_FILE_VARIABLE];
  if (file === undefined) process.stderr.write(line);
  else appendFileSync(file, line);
}
