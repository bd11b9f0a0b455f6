import type { TableDescription } from "../../db/describe-table.ts";
import type { Database } from "../../db/pool.ts";
import type { CertificateFile, InventoryCertificate } from "../../inventory/certificate-file.ts";
import { upsertInventory } from "../../inventory/upsert.ts";
import { counted, printable } from "../../terminal.ts";
import { RefusedError, UsageError } from "../errors.ts";
import { commandDeadlineMs, type DatabaseFlags, upstreamTable, withDatabase } from "../with-database.ts";
import { type FoundFile, findFiles, readFound, standardInput } from "./files.ts";

export interface AddOptions extends DatabaseFlags {
  /** The text to store in `certs.source`. */
  source: string;
}

/** A certificate, and the first file that it was found in. */
interface Found {
  certificate: InventoryCertificate;
  path: string;
}

const columns = ["fingerprint_sha1", "serial", "sans", "not_before", "not_after", "source", "added_at"];
const batchSize = 500;

/**
 * Adds the certificates in these files and folders to the inventory, and prints what became of each of them.
 *
 * @returns the exit status: 1 if a file was bad.
 */
export async function inventoryAdd(paths: string[], options: AddOptions): Promise<number> {
  if (paths.filter((path) => path === standardInput).length > 1) {
    throw new UsageError("standard input (-) can be read once only");
  }
  const { files, problems } = await findFiles(paths);
  const report = new AddReport();
  for (const problem of problems) report.problem(problem);
  const found = await readAll(files, report);
  if (found.size > 0) {
    await withDatabase({ ...options, mayCreate: true }, (db) =>
      addToInventory(db, [...found.values()], options.source, report),
    );
  }
  console.log(report.summary());
  return report.problems > 0 ? 1 : 0;
}

async function readAll(files: FoundFile[], report: AddReport): Promise<Map<string, Found>> {
  const found = new Map<string, Found>();
  for (const file of files) {
    const read = await readFound(file);
    report.read(file.path, read);
    for (const certificate of read.certificates) {
      const { fingerprint_sha1: fingerprint } = certificate;
      if (!found.has(fingerprint)) found.set(fingerprint, { certificate, path: file.path });
    }
  }
  return found;
}

/**
 * Adds certificates with distinct fingerprints to the inventory. Safe to run again after a failure half-way.
 *
 * @throws RefusedError if certificates cannot be added to `public.certs`.
 */
export async function addToInventory(
  db: Database,
  found: Found[],
  source: string,
  report: AddReport,
): Promise<void> {
  const table = await inventoryTable(db);
  const hasTbsColumn = table.columns.includes("tbs_sha256");
  if (!hasTbsColumn) report.lacksTbsColumn();
  for (let start = 0; start < found.length; start += batchSize) {
    const batch = found.slice(start, start + batchSize);
    const rows = batch.map(({ certificate }) => certificate);
    const results = await upsertInventory(db, rows, {
      source,
      hasTbsColumn,
      deadlineMs: commandDeadlineMs,
    }).catch(explainConflictTarget);
    for (const one of batch) report.stored(one, results.get(one.certificate.fingerprint_sha1) ?? "unchanged");
  }
}

/**
 * Returns the description of `public.certs`.
 *
 * @throws RefusedError if certificates cannot be added to `public.certs`.
 */
export function inventoryTable(db: Database): Promise<TableDescription> {
  return upstreamTable(db, "public.certs", columns);
}

function explainConflictTarget(error: unknown): never {
  const { cause } = error as { cause?: { code?: unknown } };
  if (cause?.code !== "42P10") throw error;
  throw new RefusedError(
    "public.certs has no unique index on fingerprint_sha1 alone: have its owner add one (CREATE UNIQUE INDEX ON public.certs (fingerprint_sha1))",
  );
}

/** Prints what becomes of each file and certificate, and counts the results. */
export class AddReport {
  problems = 0;
  #skipped = 0;
  #saidLacksTbsColumn = false;
  readonly #counts = { added: 0, updated: 0, unchanged: 0 };

  problem(sentence: string): void {
    this.problems += 1;
    console.error(`bad: ${printable(sentence)}`);
  }

  read(path: string, { skipped, problems }: CertificateFile): void {
    this.#skipped += skipped.length;
    for (const what of skipped) console.error(`skipped: ${printable(`${path}: ${what}`)}`);
    for (const problem of problems) this.problem(`${path}: ${problem}`);
  }

  stored({ certificate, path }: Found, result: "added" | "updated" | "unchanged"): void {
    this.#counts[result] += 1;
    if (result === "unchanged") return;
    const { fingerprint_sha1: fingerprint, sans } = certificate;
    console.log(
      `${result} ${fingerprint}  ${printable(sans.join(", ") || "(no DNS names)")}  ${printable(path)}`,
    );
  }

  lacksTbsColumn(): void {
    if (this.#saidLacksTbsColumn) return;
    this.#saidLacksTbsColumn = true;
    console.error(
      'public.certs has no column tbs_sha256, so precertificates can be recognised by serial number only: "certwatch migrate --inventory" adds it.',
    );
  }

  summary(): string {
    const { added, updated, unchanged } = this.#counts;
    const skipped = this.#skipped === 0 ? "" : `, ${this.#skipped} skipped`;
    const bad = this.problems === 0 ? "" : `, ${counted(this.problems, "problem")}`;
    return `${counted(added + updated + unchanged, "certificate")}: ${added} added, ${updated} updated, ${unchanged} unchanged${skipped}${bad}`;
  }
}
