import type { CertificateRow } from "./outbox.ts";

const maxWaiting = 100_000;
const maxWaitingBytes = 256 * 1024 * 1024;
const batchSize = 500;
/** The most bytes in one statement, so that it ends within its deadline. A larger certificate has its own statement. */
const maxBatchBytes = 8 * 1024 * 1024;

interface Waiting {
  row: CertificateRow;
  bytes: number;
}

/** Matched certificates that wait in memory for their commit, in the order of arrival, bounded in number and bytes. */
export class WaitingCertificates implements Iterable<Waiting> {
  /** The certificates by certificate key, so that a certificate that arrives twice waits only once. */
  readonly #waiting = new Map<string, Waiting>();
  #bytes = 0;

  get size(): number {
    return this.#waiting.size;
  }

  has(certificateKey: string): boolean {
    return this.#waiting.has(certificateKey);
  }

  /** Adds a certificate that is not waiting yet. Returns false if there is no room. */
  add(row: CertificateRow): boolean {
    const { row_bytes: bytes } = row;
    if (this.size >= maxWaiting || this.#bytes + bytes > maxWaitingBytes) return false;
    this.#waiting.set(row.certificate_key, { row, bytes });
    this.#bytes += bytes;
    return true;
  }

  /** Returns the certificates for the next statement. They stay here until {@link delete}. */
  nextBatch(): CertificateRow[] {
    const rows: CertificateRow[] = [];
    let batchBytes = 0;
    for (const { row, bytes } of this) {
      batchBytes += bytes;
      if (rows.length === batchSize || (rows.length > 0 && batchBytes > maxBatchBytes)) break;
      rows.push(row);
    }
    return rows;
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
