import type { PendingCertificate } from "../issuance/pending.ts";

const maxCertificates = 10_000;
const maxBytes = 32 * 1024 * 1024;
/** The most bytes in one batch: a batch of large certificates holds up what is due only for a moment. */
const maxBatchBytes = 8 * 1024 * 1024;

/**
 * Certificates that were just recorded and wait for their first look at the inventory, in the order of their recording.
 * A first look is a short cut: a certificate that does not fit here, by number or by bytes, is judged when its grace is
 * over.
 */
export class FirstLooks {
  readonly #batchSize: number;
  #waiting: PendingCertificate[] = [];
  #bytes = 0;

  constructor(batchSize: number) {
    this.#batchSize = batchSize;
  }

  get size(): number {
    return this.#waiting.length;
  }

  /** Adds a certificate, or leaves it out if there is no room. */
  add(certificate: PendingCertificate): void {
    if (this.size >= maxCertificates || this.#bytes + certificate.rowBytes > maxBytes) return;
    this.#waiting.push(certificate);
    this.#bytes += certificate.rowBytes;
  }

  /** Removes and returns the next batch: as many as fit by number and bytes, one at least. */
  nextBatch(): PendingCertificate[] {
    let count = 0;
    let bytes = 0;
    for (const { rowBytes } of this.#waiting) {
      bytes += rowBytes;
      if (count === this.#batchSize || (count > 0 && bytes > maxBatchBytes)) break;
      count += 1;
    }
    const batch = this.#waiting.splice(0, count);
    for (const { rowBytes } of batch) this.#bytes -= rowBytes;
    return batch;
  }
}
