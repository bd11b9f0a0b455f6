import { claimDeliveries, type Delivery, millisecondsToNextDelivery } from "../db/claim-deliveries.ts";
import type { Database } from "../db/pool.ts";
import { type Outcome, releaseDeliveries, settleDeliveries } from "../db/settle-deliveries.ts";
import { adoptObserved, giveUpExpired } from "../db/sweep-deliveries.ts";
import type { Logger } from "../log.ts";
import { Loop } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import { type RecordedPayload, toPayload } from "./payload.ts";
import type { SendResult, WebhookSender } from "./webhook.ts";

/** Attempts under way at once. */
export const concurrency = 32;
/** Of these, how many only `suspicious` alerts may use: a flood of renewals never delays a hijack. */
const reservedForSuspicious = 8;
/** How often to look for what other replicas left behind. */
const pollMs = 5_000;
const deadlineMs = 10_000;
/** Something due that cannot be claimed is being claimed by another replica: no spinning meanwhile. */
const minWaitMs = 20;
/** The lease outlasts an attempt by this, for the outcome to be committed. */
const leaseMarginSeconds = 30;

export interface DelivererOptions {
  db: Database;
  log: Logger;
  metrics: Metrics;
  sender: WebhookSender;
  timeoutSeconds: number;
  maxAttempts: number;
  onError: (error: unknown) => void;
}

type Severity = "info" | "suspicious";

/** An event that this process holds, from its claim to the commit of its outcome. */
interface Attempt {
  delivery: Delivery<RecordedPayload>;
  /** `null` while the receiver has not answered. */
  outcome: Outcome | null;
}

/**
 * Delivers events: claims what is due, posts it, and writes down how that ended. At least once: an event whose outcome
 * could not be committed before its lease ended is sent again, with the same `webhook-id`.
 *
 * A place among the attempts is taken from the claim to the commit of the outcome, so neither a slow receiver nor a
 * slow database makes more than {@link concurrency} alerts wait in memory.
 */
export class Deliverer {
  /** Claims and posts. */
  readonly claiming: Loop;
  /** Writes outcomes down. */
  readonly settling: Loop;
  readonly #options: DelivererOptions;
  readonly #attempts = new Map<number, Attempt>();
  readonly #abortAttempts = new AbortController();
  #nextSweepMs = 0;

  constructor(options: DelivererOptions) {
    this.#options = options;
    const { onError } = options;
    this.claiming = new Loop({ name: "delivery", step: () => this.#claim(), onError });
    this.settling = new Loop({ name: "delivery outcomes", step: () => this.#settle(), onError });
  }

  /** Ends claiming, gives running attempts `timeoutMs` to end, and writes their outcomes down. */
  async stop(timeoutMs: number): Promise<void> {
    await this.claiming.stop();
    const endMs = performance.now() + timeoutMs;
    while (this.#attempts.size > 0 && performance.now() < endMs) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await this.settling.stop();
    this.#abortAttempts.abort();
    try {
      await this.#settle();
      await this.#release();
    } catch (error) {
      // The database is away: those events wait for the end of their lease, as after a crash.
      this.#options.onError(error);
    }
  }

  async #release(): Promise<void> {
    // Aborted attempts have no known outcome and do not count: the events are due again at once.
    const unfinished = [...this.#attempts.values()].map(({ delivery }) => delivery);
    this.#attempts.clear();
    if (unfinished.length > 0) await releaseDeliveries(this.#options.db, unfinished, deadlineMs);
  }

  async #claim(): Promise<number> {
    if (performance.now() >= this.#nextSweepMs) await this.#sweep();
    const free = concurrency - this.#attempts.size;
    const suspicious = await this.#claimOf("suspicious", free);
    const freeForInfo = concurrency - reservedForSuspicious - this.#attempts.size;
    const info = await this.#claimOf("info", freeForInfo);
    // Where every place is taken, the next outcome wakes this loop.
    const waitsFor: Severity[] = [];
    if (suspicious < free) waitsFor.push("suspicious");
    if (info < freeForInfo) waitsFor.push("info");
    if (waitsFor.length === 0) return pollMs;
    const nextMs = await millisecondsToNextDelivery(this.#options.db, waitsFor, deadlineMs);
    return Math.min(pollMs, Math.max(nextMs, minWaitMs));
  }

  async #claimOf(severity: Severity, limit: number): Promise<number> {
    if (limit <= 0) return 0;
    const { db, timeoutSeconds } = this.#options;
    const leaseSeconds = timeoutSeconds + leaseMarginSeconds;
    const claimed = await claimDeliveries<RecordedPayload>(db, { severity, limit, leaseSeconds, deadlineMs });
    for (const delivery of claimed) {
      // Its lease ended before its success could be written down; that counts whoever holds it.
      if (this.#attempts.get(delivery.id)?.outcome?.delivered) continue;
      const attempt: Attempt = { delivery, outcome: null };
      this.#attempts.set(delivery.id, attempt);
      void this.#post(attempt);
    }
    return claimed.length;
  }

  async #post(attempt: Attempt): Promise<void> {
    const { delivery } = attempt;
    const { sender, metrics } = this.#options;
    const stopTimer = metrics.webhookDuration.startTimer();
    const result = await sender.send(toPayload(delivery), webhookId(delivery), this.#abortAttempts.signal);
    if (this.#abortAttempts.signal.aborted) return;
    stopTimer();
    metrics.webhook.inc({ result: result.ok ? "success" : "failure" });
    attempt.outcome = this.#toOutcome(delivery, result);
    this.settling.wake();
  }

  #toOutcome(delivery: Delivery<RecordedPayload>, result: SendResult): Outcome {
    const { id, lease } = delivery;
    if (result.ok) return { id, lease, delivered: true, error: null, retry_after_seconds: null };
    const attempt = delivery.attempts + 1;
    const isLast = attempt >= this.#options.maxAttempts;
    const retryAfterSeconds = Math.max(backoffSeconds(attempt), result.retryAfterSeconds);
    return {
      id,
      lease,
      delivered: false,
      error: result.error,
      retry_after_seconds: isLast ? null : retryAfterSeconds,
    };
  }

  async #settle(): Promise<number> {
    const ended = [...this.#attempts.values()].filter(({ outcome }) => outcome !== null);
    if (ended.length === 0) return Number.POSITIVE_INFINITY;
    await settleDeliveries(
      this.#options.db,
      ended.map(({ outcome }) => outcome!),
      deadlineMs,
    );
    for (const attempt of ended) {
      const { delivery, outcome } = attempt;
      // It may have been claimed again meanwhile, if its lease had ended.
      if (this.#attempts.get(delivery.id) === attempt) this.#attempts.delete(delivery.id);
      this.#report(delivery, outcome!);
    }
    this.claiming.wake();
    return 0;
  }

  #report(delivery: Delivery<RecordedPayload>, outcome: Outcome): void {
    const { log, metrics } = this.#options;
    const fields = { alert_id: delivery.id, severity: delivery.severity, attempt: delivery.attempts + 1 };
    if (outcome.delivered) {
      log.info(fields, "alert delivered");
    } else if (outcome.retry_after_seconds !== null) {
      log.warn(
        { ...fields, error: outcome.error, retry_in_s: outcome.retry_after_seconds },
        "delivery failed, will try again",
      );
    } else {
      metrics.alertsGivenUp.inc();
      log.error(
        { ...fields, error: outcome.error, matched_entries: delivery.payload.matched_entries },
        "delivery given up: the alert stays in the table alerts with delivered = false",
      );
    }
  }

  async #sweep(): Promise<void> {
    const { db, log, metrics } = this.#options;
    const givenUp = await giveUpExpired(db, deadlineMs);
    for (const id of givenUp) {
      metrics.alertsGivenUp.inc();
      log.error(
        { alert_id: id },
        "delivery given up: every process that claimed it ended or stalled before the outcome",
      );
    }
    const adopted = await adoptObserved(db, deadlineMs);
    if (adopted.length > 0)
      log.info({ alert_ids: adopted }, "took over events that a replica in observer mode recorded");
    this.#nextSweepMs = performance.now() + pollMs;
  }
}

/** 1, 4, 16, 64, 256, then 300 s: the wait after the n-th failed attempt. */
export function backoffSeconds(failedAttempts: number): number {
  return Math.min(4 ** (failedAttempts - 1), 300);
}

/** Unique across databases too: alert ids start again in a new one, and receivers remember what they have seen. */
function webhookId(delivery: { id: number; issuanceId: string }): string {
  return `certwatch_${delivery.id}_${delivery.issuanceId.slice(0, 16)}`;
}
