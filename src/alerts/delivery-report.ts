import type { Logger } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import type { HeldEvent } from "./held-events.ts";
import type { Delivery, Outcome } from "./outbox.ts";

/** Writes to the log and to the metrics how deliveries ended. */
export class DeliveryReport {
  readonly #log: Logger;
  readonly #metrics: Metrics;

  constructor({ log, metrics }: { log: Logger; metrics: Metrics }) {
    this.#log = log;
    this.#metrics = metrics;
  }

  /** Called when the outcome of an attempt is committed. */
  outcome(delivery: Delivery, outcome: Outcome): void {
    const { delivered, error, postponed, retry_after_seconds: retryAfterSeconds } = outcome;
    const fields = { alert_id: delivery.id, severity: delivery.severity, attempt: delivery.attempts + 1 };
    if (delivered) {
      this.#log.info(fields, "alert delivered");
    } else if (postponed && retryAfterSeconds !== null) {
      this.#log.debug({ ...fields, error }, "the receiver said later: this was no attempt");
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

  /** Called when an alert was cut to a smaller size, because the receiver refuses larger alerts. */
  reduced(delivery: Delivery, to: string): void {
    this.#log.warn(
      { alert_id: delivery.id, severity: delivery.severity, cut_to: to },
      "the receiver refuses large alerts (413): this one was cut, and names_truncated says how many names are missing",
    );
  }

  /** Called when the receiver begins to ask for patience. */
  patienceAsked(waitSeconds: number): void {
    this.#log.warn(
      { wait_s: Math.ceil(waitSeconds) },
      "the receiver asks for patience (429, or 503 with Retry-After): it gets one alert a second until it takes them for a minute",
    );
  }

  /** Called for an event that was given up because too many claims expired without an outcome. */
  givenUpUnsent(alertId: number): void {
    this.#metrics.alertsGivenUp.inc();
    this.#log.error(
      { alert_id: alertId },
      "delivery given up: every process that began to send this alert ended, or hung, before it could record the outcome",
    );
  }

  /** Called when events that a replica in observer mode recorded have become due. */
  adopted(alertIds: number[]): void {
    if (alertIds.length === 0) return;
    this.#log.info({ alert_ids: alertIds }, "took over events that a replica in observer mode recorded");
  }

  /**
   * Called at a stop for events whose outcomes could not be committed. These attempts do not count, and are repeated
   * when the leases have ended.
   */
  locked(events: HeldEvent[]): void {
    if (events.length === 0) return;
    this.#log.warn(
      { alert_ids: events.map(({ delivery }) => delivery.id) },
      "somebody has locked the rows of these alerts: the outcomes of their last attempts could not be recorded",
    );
  }
}
