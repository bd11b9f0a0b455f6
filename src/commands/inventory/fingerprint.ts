import { jsonLine } from "../../terminal.ts";
import { AddReport } from "./add.ts";
import { findFiles, readFound } from "./files.ts";

/**
 * Prints a line of JSON with what `inventoryAdd` would store for each certificate. Needs no database or configuration.
 *
 * @returns the exit status: 1 if a file was bad.
 */
export async function inventoryFingerprint(paths: string[]): Promise<number> {
  const { files, problems } = await findFiles(paths);
  const report = new AddReport();
  for (const problem of problems) report.problem(problem);
  for (const file of files) {
    const read = await readFound(file);
    report.read(file.path, read);
    for (const certificate of read.certificates) console.log(jsonLine({ ...certificate, file: file.path }));
  }
  return report.problems > 0 ? 1 : 0;
}
