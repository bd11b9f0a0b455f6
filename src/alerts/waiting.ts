import type { CertificateRow } from "./outbox.ts";

const maxWaiting = 100_000;
const maxWaitingBytes = 256 * 1024 * 1024;
/** The greatest number of certificates in one statement. */
export const batchSize = 500;
/** The most bytes in one statement, so that it ends within its deadline. A larger certificate has its own statement. */
const maxBatchBytes = 8 * 1024 * 1024;

/** The first wait of a row that the table refuses. It doubles with each refusal, up to the longest. */
const firstWaitMs = 1_000;
const longestWaitMs = 60_000;

interface Waiting {
  row: CertificateRow;
  bytes: number;
  /** How often the table has refused the row. */
  refusals: number;
  /** Not to be tried before this time, by the monotonic clock. */
  notBeforeMs: number;
}

/** What a row takes while it waits: base64 has one byte a character. */
const bytesOf = (row: CertificateRow) => row.row_bytes + (row.der?.length ?? 0);

/** Matched certificates that wait in memory for their commit, in the order of arrival, bounded in number and bytes. */
export class WaitingCertificates implements Iterable<Waiting> {
  /** The certificates by certificate key, so that a certificate that arrives twice waits only once. */
  readonly #waiting = new Map<string, Waiting>();
  #bytes = 0;
  /** Whether any of them may have its DER. */
  #hasEvidence = false;

  get size(): number {
    return this.#waiting.size;
  }

  has(certificateKey: string): boolean {
    return this.#waiting.has(certificateKey);
  }

  /** Adds a certificate that is not waiting yet. Returns false if there is no room. */
  add(row: CertificateRow): boolean {
    if (this.#bytes + bytesOf(row) > maxWaitingBytes) {
      this.#dropEvidence();
      row.der = null;
    }
    const bytes = bytesOf(row);
    if (this.size >= maxWaiting || this.#bytes + bytes > maxWaitingBytes) return false;
    this.#waiting.set(row.certificate_key, { row, bytes, refusals: 0, notBeforeMs: 0 });
    this.#hasEvidence ||= row.der !== null;
    this.#bytes += bytes;
    return true;
  }

  /** Frees the memory of the certificates' DER, so that the alerts themselves have room. */
  #dropEvidence(): void {
    if (!this.#hasEvidence) return;
    this.#hasEvidence = false;
    this.#bytes = 0;
    for (const waiting of this) {
      waiting.row.der = null;
      waiting.bytes = bytesOf(waiting.row);
      this.#bytes += waiting.bytes;
    }
  }

  /** Returns at most `limit` certificates for the next statement. They stay here until {@link delete}. */
  nextBatch(limit = batchSize): CertificateRow[] {
    const rows: CertificateRow[] = [];
    let batchBytes = 0;
    const nowMs = performance.now();
    for (const { row, bytes, notBeforeMs } of this) {
      if (notBeforeMs > nowMs) continue;
      batchBytes += bytes;
      if (rows.length === limit || (rows.length > 0 && batchBytes > maxBatchBytes)) break;
      rows.push(row);
    }
    return rows;
  }

  /** Milliseconds until {@link nextBatch} has a certificate; Infinity if none waits. */
  get waitMs(): number {
    const nowMs = performance.now();
    let soonestMs = Number.POSITIVE_INFINITY;
    for (const { notBeforeMs } of this) {
      if (notBeforeMs <= nowMs) return 0;
      soonestMs = Math.min(soonestMs, notBeforeMs - nowMs);
    }
    return soonestMs;
  }

  /** Puts off a certificate that the table refuses: it waits, longer each time, and never in front of others. */
  stepAside(certificateKey: string): void {
    const waiting = this.#waiting.get(certificateKey);
    if (waiting === undefined) return;
    waiting.notBeforeMs = performance.now() + Math.min(firstWaitMs * 2 ** waiting.refusals, longestWaitMs);
    waiting.refusals += 1;
  }

  /** Ends all waits of {@link stepAside}. */
  endWaits(): void {
    for (const waiting of this) waiting.notBeforeMs = 0;
  }

  delete(certificateKey: string): void {
    this.#bytes -= this.#waiting.get(certificateKey)?.bytes ?? 0;
    this.#waiting.delete(certificateKey);
  }

  clear(): void {
    this.#waiting.clear();
    this.#bytes = 0;
  }

  [Symbol.iterator](): Iterator<Waiting> {
    return this.#waiting.values();
  }
}
