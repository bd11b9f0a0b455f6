import type { CertUpdate } from "../feed/message.ts";
import type { Evidence } from "../issuance/evidence.ts";
import { type Logger, RateLimitedLog } from "../log.ts";
import type { Metrics } from "../metrics.ts";

/** Says in the log and in the metrics that a feed says something else of a certificate than the certificate itself. */
export class ContradictionReport {
  readonly #log: Logger;
  readonly #metrics: Metrics;
  readonly #quietLog = new RateLimitedLog();

  constructor({ log, metrics }: { log: Logger; metrics: Metrics }) {
    this.#log = log;
    this.#metrics = metrics;
  }

  report({ sourceUrl, certIndex }: CertUpdate, { update, contradictions }: Evidence): void {
    if (contradictions.length === 0) return;
    this.#metrics.contradictions.inc();
    this.#quietLog.once("contradiction", (suppressed) => {
      this.#log.warn(
        {
          contradictions,
          fingerprint_sha1: update.fingerprintSha1,
          log_url: sourceUrl,
          cert_index: certIndex,
          suppressed,
        },
        "a feed says something else of a certificate than the certificate itself: the certificate is believed",
      );
    });
  }
}
