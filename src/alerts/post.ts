import type { Logger } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { DeliveryReport } from "./delivery-report.ts";
import type { HeldEvent, HeldEvents } from "./held-events.ts";
import { outcomeOf } from "./outcome.ts";
import type { Patience } from "./patience.ts";
import { toPayload } from "./payload.ts";
import type { WebhookSender } from "./webhook.ts";

export interface PosterOptions {
  log: Logger;
  metrics: Metrics;
  sender: WebhookSender;
  maxAttempts: number;
  held: HeldEvents;
  patience: Patience;
  /** Called when `held` has outcomes to commit, or events to give back. */
  onEnded: () => void;
  /** Called when an attempt has ended while the receiver asks for patience: the next event must be claimed. */
  onPatience: () => void;
}

/** Posts held events, as many at once as the receiver's patience and the bounds of `held` allow. */
export class Poster {
  readonly #options: PosterOptions;
  readonly #report: DeliveryReport;
  #isStopping = false;
  #isCutOff = false;

  constructor(options: PosterOptions) {
    this.#options = options;
    this.#report = new DeliveryReport(options);
  }

  /** Begins an attempt for each held event that may be sent now. The outcomes of the attempts go to `held`. */
  postWaiting(): void {
    const { held, onEnded } = this.#options;
    if (this.#isStopping) return;
    for (let event = held.next(); event !== null; event = held.next()) void this.#post(event);
    if (held.overdue().length > 0) onEnded();
  }

  /** From this call on no further attempt begins. */
  stop(): void {
    this.#isStopping = true;
  }

  /** Ends the attempts that are under way. Attempts without a success have no known outcome and do not count. */
  async cutOff(): Promise<void> {
    this.#isCutOff = true;
    await this.#options.sender.close();
    await new Promise(setImmediate); // an attempt whose answer has arrived already can still note its outcome
  }

  async #post(event: HeldEvent): Promise<void> {
    const { delivery } = event;
    const { held, patience, sender, metrics, maxAttempts, onEnded, onPatience } = this.#options;
    const stopTimer = metrics.webhookDuration.startTimer();
    const begunMs = performance.now();
    const result = await sender.send(toPayload(delivery), webhookId(delivery));
    if (this.#isCutOff && result.kind !== "delivered") {
      held.end(event, null);
      return;
    }
    stopTimer();
    metrics.webhook.inc({ result: result.kind === "delivered" ? "success" : "failure" });
    if (result.reducedTo !== undefined) {
      metrics.webhookReduced.inc({ to: result.reducedTo });
      this.#report.reduced(delivery, result.reducedTo);
    }
    const wasPatient = patience.isAsked;
    patience.heard(result, begunMs);
    if (!wasPatient && patience.isAsked) this.#report.patienceAsked(patience.waitMs / 1000);
    held.end(event, outcomeOf(delivery, result, maxAttempts));
    onEnded();
    this.postWaiting();
    if (patience.isAsked) onPatience();
  }
}

/**
 * Returns the `webhook-id`: the same for all attempts of one event, and unique across databases. (In a new database the
 * alert ids start again, and receivers remember the ids that they have seen.)
 */
function webhookId(delivery: { id: number; issuanceId: string }): string {
  return `certwatch_${delivery.id}_${delivery.issuanceId.slice(0, 16)}`;
}
