import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SKIPPED_FILE_VARIABLE } from "./skip-file.ts";

/** Prints, after everything else, what the run skipped. */
export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), "certwatch-test-"));
  const file = join(folder, "skipped");
  writeFileSync(file, "");
  process.env[SKIPPED_FILE_VARIABLE] = file;
  return () => {
    const lines = new Set(readFileSync(file, "utf8").split("\n"));
    rmSync(folder, { recursive: true });
    for (const line of [...lines].filter((one) => one !== "").sort()) process.stderr.write(`${line}\n`);
  };
}
