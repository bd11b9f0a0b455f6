import type { Logger } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import type { HeldEvent } from "./held-events.ts";
import type { Delivery, Outcome } from "./outbox.ts";

/** Says in the log and in the metrics what became of deliveries. */
export class DeliveryReport {
  readonly #log: Logger;
  readonly #metrics: Metrics;

  constructor({ log, metrics }: { log: Logger; metrics: Metrics }) {
    this.#log = log;
    this.#metrics = metrics;
  }

  /** An attempt has ended, and its outcome is committed. */
  outcome(delivery: Delivery, { delivered, error, retry_after_seconds: retryAfterSeconds }: Outcome): void {
    const fields = { alert_id: delivery.id, severity: delivery.severity, attempt: delivery.attempts + 1 };
    if (delivered) {
      this.#log.info(fields, "alert delivered");
    } else if (retryAfterSeconds !== null) {
      this.#log.warn({ ...fields, error, retry_in_s: retryAfterSeconds }, "delivery failed, will try again");
    } else {
      this.#metrics.alertsGivenUp.inc();
      this.#log.error(
        { ...fields, error, matched_entries: delivery.payload.matched_entries },
        "delivery given up: the alert stays in the table alerts with delivered = false",
      );
    }
  }

  /** No attempt had an outcome, and too many claims have expired. */
  givenUpUnsent(alertId: number): void {
    this.#metrics.alertsGivenUp.inc();
    this.#log.error(
      { alert_id: alertId },
      "delivery given up: every process that claimed it ended or stalled before the outcome",
    );
  }

  /** Events of a replica in observer mode are due now. */
  adopted(alertIds: number[]): void {
    if (alertIds.length === 0) return;
    this.#log.info({ alert_ids: alertIds }, "took over events that a replica in observer mode recorded");
  }

  /** A stop ends without these outcomes: the attempts count for nothing and are made again when the leases are over. */
  locked(events: HeldEvent[]): void {
    if (events.length === 0) return;
    this.#log.warn(
      { alert_ids: events.map(({ delivery }) => delivery.id) },
      "somebody has locked these alerts: the outcomes of their last attempts could not be written down",
    );
  }
}
