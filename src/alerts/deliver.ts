import type { Database } from "../db/pool.ts";
import type { Logger } from "../log.ts";
import { Loop } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import { type HeldEvent, HeldEvents } from "./held-events.ts";
import { outcomeOf } from "./outcome.ts";
import { type Severity, toPayload } from "./payload.ts";
import { claimDeliveries, type Delivery, millisecondsToNextDelivery } from "./sql/claim-deliveries.ts";
import { type Outcome, releaseDeliveries, settleDeliveries } from "./sql/settle-deliveries.ts";
import { adoptObserved, giveUpExpired } from "./sql/sweep-deliveries.ts";
import type { WebhookSender } from "./webhook.ts";

/** How often to look for what other replicas left behind. */
const pollMs = 5_000;
const deadlineMs = 10_000;
/** Something that is due already is being claimed by another replica: no spinning meanwhile. */
const minWaitMs = 20;
/** When to try again what somebody else has locked. */
const lockedMs = 200;
/** How long a stop tries that. */
const settlePatienceMs = 1_500;
/** The lease outlasts an attempt by this, for the event to wait for its turn and the outcome to be committed. */
const leaseMarginSeconds = 30;

export interface DelivererOptions {
  db: Database;
  log: Logger;
  metrics: Metrics;
  /** Closed when the deliverer is stopped. */
  sender: WebhookSender;
  timeoutSeconds: number;
  maxAttempts: number;
  onError: (error: unknown) => void;
}

/**
 * Delivers events: claims what is due, or takes what was claimed as it was judged, posts it, and writes down how that
 * ended. At least once: an event whose outcome could not be committed before its lease ended is sent again, with the
 * same `webhook-id`.
 */
export class Deliverer {
  /** Claims what was not claimed as it was judged: retries, a backlog, what others left behind. */
  readonly claiming: Loop;
  /** Writes outcomes down. */
  readonly settling: Loop;
  /** Of every claim of this process. */
  readonly leaseSeconds: number;
  readonly #options: DelivererOptions;
  readonly #held = new HeldEvents();
  /** When the database may have something due that nobody holds, by this process's monotonic clock. */
  readonly #nextDueMs: Record<Severity, number> = { suspicious: 0, info: 0 };
  #nextSweepMs = 0;
  #isStopping = false;
  #isAborted = false;

  constructor(options: DelivererOptions) {
    this.#options = options;
    const { onError, timeoutSeconds } = options;
    this.leaseSeconds = timeoutSeconds + leaseMarginSeconds;
    this.claiming = new Loop({ name: "delivery", step: () => this.#claim(), onError });
    this.settling = new Loop({ name: "delivery outcomes", step: () => this.#settle(), onError });
  }

  /**
   * Keeps a place for an event that is going to be judged, which is then to be claimed in the same statement. `take` has
   * to follow, whatever becomes of the judgement.
   *
   * @returns false where there is no place, or where others have been due for longer: the event is to be left unclaimed.
   */
  reserve(severity: Severity): boolean {
    const isFirst = performance.now() < this.#nextDueMs[severity];
    return !this.#isStopping && isFirst && this.#held.reserve(severity);
  }

  /** Takes events that were claimed as they were judged, at `claimedMs` or later, and ends all reservations. */
  take(deliveries: Delivery[], claimedMs: number): void {
    const reserved = this.#held.endReservations();
    for (const delivery of deliveries) this.#held.add(delivery, claimedMs);
    this.#postWaiting();
    // Places are free that the claiming could not have.
    if (reserved > deliveries.length) this.claiming.wake();
  }

  /** There is something due that nobody holds: claims it as soon as there is a place. */
  wake(): void {
    for (const severity of severities) this.#nextDueMs[severity] = 0;
    this.claiming.wake();
  }

  /** Ends claiming, gives running attempts `timeoutMs` to end, writes their outcomes down, and gives the rest back. */
  async stop(timeoutMs: number): Promise<void> {
    // What a claim under way brings is held, not posted, and given back.
    this.#isStopping = true;
    await this.claiming.stop();
    const endMs = performance.now() + timeoutMs;
    while (this.#held.isBusy && performance.now() < endMs) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await this.settling.stop();
    this.#isAborted = true;
    await this.#options.sender.close();
    await new Promise(setImmediate); // for those that had their answer already
    try {
      const settleEndMs = performance.now() + settlePatienceMs;
      await this.#settle();
      while (this.#held.ended().length > 0 && performance.now() < settleEndMs) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        await this.#settle();
      }
      this.#reportLocked();
      // Aborted attempts have no known outcome and do not count: the events are due again at once.
      const unfinished = this.#held.removeUnfinished();
      if (unfinished.length > 0) await releaseDeliveries(this.#options.db, claimsOf(unfinished), deadlineMs);
    } catch (error) {
      // The database is away: those events wait for the end of their lease, as after a crash.
      this.#options.onError(error);
    }
  }

  async #claim(): Promise<number> {
    if (performance.now() >= this.#nextSweepMs) await this.#sweep();
    this.#held.dropOverdue();
    if (this.#held.overdue().length > 0) this.settling.wake();
    for (const severity of severities) await this.#claimDue(severity);
    // Where there are too few places, the next outcome wakes this loop.
    const wakeUpsMs = severities
      .filter((severity) => this.#held.claimable(severity) > 0)
      .map((severity) => this.#nextDueMs[severity]);
    return Math.min(this.#nextSweepMs, ...wakeUpsMs) - performance.now();
  }

  async #claimDue(severity: Severity): Promise<void> {
    const { db } = this.#options;
    const { leaseSeconds } = this;
    const limit = this.#held.claimable(severity);
    const claimedMs = performance.now();
    if (limit === 0 || claimedMs < this.#nextDueMs[severity]) return;
    // Before the question, so that what becomes due meanwhile can only bring the next one forward.
    this.#nextDueMs[severity] = this.#nextSweepMs;
    try {
      const claimed = await claimDeliveries(db, {
        severity,
        limit,
        leaseSeconds,
        deadlineMs,
      });
      for (const delivery of claimed) this.#held.add(delivery, claimedMs);
      this.#postWaiting();
      if (claimed.length === limit) return this.#expect(severity, 0);
      const nextMs = await millisecondsToNextDelivery(db, severity, deadlineMs);
      this.#expect(severity, nextMs <= 0 && claimed.length === 0 ? lockedMs : Math.max(nextMs, minWaitMs));
    } catch (error) {
      this.#expect(severity, 0);
      throw error;
    }
  }

  /** Something is due in `waitMs`. */
  #expect(severity: Severity, waitMs: number): void {
    this.#nextDueMs[severity] = Math.min(this.#nextDueMs[severity], performance.now() + waitMs);
  }

  #postWaiting(): void {
    if (this.#isStopping) return;
    for (let event = this.#held.next(); event !== null; event = this.#held.next()) void this.#post(event);
  }

  async #post(event: HeldEvent): Promise<void> {
    const { delivery } = event;
    const { sender, metrics, maxAttempts } = this.#options;
    const stopTimer = metrics.webhookDuration.startTimer();
    const result = await sender.send(toPayload(delivery), webhookId(delivery));
    if (this.#isAborted && !result.ok) {
      this.#held.end(event, null);
      return;
    }
    stopTimer();
    metrics.webhook.inc({ result: result.ok ? "success" : "failure" });
    this.#held.end(event, outcomeOf(delivery, result, maxAttempts));
    this.settling.wake();
    this.#postWaiting();
  }

  async #settle(): Promise<number> {
    const { db } = this.#options;
    const ended = this.#held.ended();
    const overdue = this.#held.overdue();
    if (ended.length + overdue.length === 0) return Number.POSITIVE_INFINITY;
    let locked = 0;
    if (ended.length > 0) {
      const outcomes = ended.map(({ outcome }) => outcome!);
      const lockedIds = new Set(await settleDeliveries(db, outcomes, deadlineMs));
      const settled = ended.filter(({ delivery }) => !lockedIds.has(delivery.id));
      this.#held.remove(settled);
      for (const { delivery, outcome } of settled) this.#report(delivery, outcome!);
      locked = lockedIds.size;
    }
    if (overdue.length > 0) {
      await releaseDeliveries(db, claimsOf(overdue), deadlineMs);
      this.#held.remove(overdue);
      for (const { delivery } of overdue) this.#expect(delivery.severity, 0);
    }
    this.claiming.wake();
    return locked > 0 ? lockedMs : 0;
  }

  /** At the end of a stop: these attempts count for nothing, and are made again when their leases are over. */
  #reportLocked(): void {
    const ids = this.#held.ended().map(({ delivery }) => delivery.id);
    if (ids.length === 0) return;
    this.#options.log.warn(
      { alert_ids: ids },
      "somebody has locked these alerts: the outcomes of their last attempts could not be written down",
    );
  }

  #report(delivery: Delivery, outcome: Outcome): void {
    const { log, metrics } = this.#options;
    const fields = { alert_id: delivery.id, severity: delivery.severity, attempt: delivery.attempts + 1 };
    if (outcome.delivered) {
      log.info(fields, "alert delivered");
    } else if (outcome.retry_after_seconds !== null) {
      this.#expect(delivery.severity, outcome.retry_after_seconds * 1000);
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
    for (const severity of severities) this.#expect(severity, 0);
  }
}

/** In the order in which they are claimed. */
const severities: Severity[] = ["suspicious", "info"];

const claimsOf = (events: HeldEvent[]) => events.map(({ delivery }) => delivery);

/** Unique across databases too: alert ids start again in a new one, and receivers remember what they have seen. */
function webhookId(delivery: { id: number; issuanceId: string }): string {
  return `certwatch_${delivery.id}_${delivery.issuanceId.slice(0, 16)}`;
}
