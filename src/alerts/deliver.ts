import type { Database } from "../db/pool.ts";
import type { Logger } from "../log.ts";
import { Loop } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import { DeliveryReport } from "./delivery-report.ts";
import { type HeldEvent, HeldEvents } from "./held-events.ts";
import { NextLook } from "./next-look.ts";
import type { JudgedCertificate, Judgement, Verdict } from "./outbox.ts";
import { outcomeOf } from "./outcome.ts";
import { type Severity, toPayload } from "./payload.ts";
import { Settler } from "./settle.ts";
import { claimDeliveries, millisecondsToNextDelivery } from "./sql/claim-deliveries.ts";
import { adoptObserved, giveUpExpired } from "./sql/sweep-deliveries.ts";
import type { WebhookSender } from "./webhook.ts";

/** How often to look for what other replicas left behind. */
const pollMs = 5_000;
const deadlineMs = 10_000;
/** Something that is due already is being claimed by another replica: no spinning meanwhile. */
const minWaitMs = 20;
/** When to claim again what somebody else has locked. */
const lockedMs = 200;
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
  readonly #options: DelivererOptions;
  /** How long every claim of this process lasts. */
  readonly #leaseSeconds: number;
  readonly #held = new HeldEvents();
  readonly #report: DeliveryReport;
  readonly #settler: Settler;
  /** When the database may have something due that nobody holds. */
  readonly #nextLooks: Record<Severity, NextLook> = { suspicious: new NextLook(), info: new NextLook() };
  readonly #nextSweep = new NextLook();
  #isStopping = false;
  #isAborted = false;

  constructor(options: DelivererOptions) {
    this.#options = options;
    this.#report = new DeliveryReport(options);
    const { onError, timeoutSeconds } = options;
    this.#leaseSeconds = timeoutSeconds + leaseMarginSeconds;
    this.claiming = new Loop({ name: "delivery", step: () => this.#claim(), onError });
    this.#settler = new Settler({
      ...options,
      held: this.#held,
      onDue: (severity, waitMs) => this.#nextLooks[severity].expectIn(waitMs),
      onPlacesFree: () => this.claiming.wake(),
    });
    this.settling = this.#settler.loop;
  }

  /**
   * Commits verdicts, and claims their events in the same statement as far as there are places to hold them. The events
   * so claimed are posted at once; the others are claimed as soon as there is a place.
   *
   * @param judge commits the verdicts under the lease of `leaseSeconds`. What it throws is passed on.
   */
  async claimWhile(
    verdicts: Verdict[],
    judge: (judgements: Judgement[], leaseSeconds: number) => Promise<JudgedCertificate[]>,
  ): Promise<JudgedCertificate[]> {
    const judgements = verdicts.map((verdict) => ({ ...verdict, claim: this.#reserve(verdict.severity) }));
    const reserved = judgements.filter(({ claim }) => claim).length;
    const claimedMs = performance.now();
    let judged: JudgedCertificate[] = [];
    try {
      judged = await judge(judgements, this.#leaseSeconds);
    } finally {
      this.#held.endReservations(reserved);
      const claimed = judged.flatMap(({ delivery }) => delivery ?? []);
      for (const delivery of claimed) this.#held.add(delivery, claimedMs);
      this.#postWaiting();
      // The claim loop counted the reserved places as taken: it may fill those that stay free.
      if (reserved > claimed.length) this.claiming.wake();
    }
    if (judged.some(({ isEvent, delivery }) => isEvent && delivery === null)) this.wake();
    return judged;
  }

  /** False where there is no place, or where other events have been due for longer: they go first. */
  #reserve(severity: Severity): boolean {
    return !this.#isStopping && !this.#nextLooks[severity].isDue && this.#held.reserve(severity);
  }

  /** Something is due that nobody holds: claims it as soon as there is a place. */
  wake(): void {
    for (const severity of severities) this.#nextLooks[severity].expectIn(0);
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
    await this.#settler.finish();
  }

  async #claim(): Promise<number> {
    if (this.#nextSweep.isDue) await this.#sweep();
    this.#held.dropOverdue();
    if (this.#held.overdue().length > 0) this.settling.wake();
    for (const severity of severities) await this.#claimDue(severity);
    // Where there are too few places, the next outcome wakes this loop.
    const waitsMs = severities
      .filter((severity) => this.#held.claimable(severity) > 0)
      .map((severity) => this.#nextLooks[severity].waitMs);
    return Math.min(this.#nextSweep.waitMs, ...waitsMs);
  }

  async #claimDue(severity: Severity): Promise<void> {
    const { db } = this.#options;
    const nextLook = this.#nextLooks[severity];
    const limit = this.#held.claimable(severity);
    const claimedMs = performance.now();
    if (limit === 0 || !nextLook.isDue) return;
    nextLook.begin(this.#nextSweep.waitMs);
    try {
      const claimed = await claimDeliveries(db, {
        severity,
        limit,
        leaseSeconds: this.#leaseSeconds,
        deadlineMs,
      });
      for (const delivery of claimed) this.#held.add(delivery, claimedMs);
      this.#postWaiting();
      if (claimed.length === limit) return nextLook.expectIn(0);
      const nextMs = await millisecondsToNextDelivery(db, severity, deadlineMs);
      nextLook.expectIn(nextMs <= 0 && claimed.length === 0 ? lockedMs : Math.max(nextMs, minWaitMs));
    } catch (error) {
      nextLook.expectIn(0);
      throw error;
    }
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

  async #sweep(): Promise<void> {
    const { db } = this.#options;
    for (const id of await giveUpExpired(db, deadlineMs)) this.#report.givenUpUnsent(id);
    this.#report.adopted(await adoptObserved(db, deadlineMs));
    this.#nextSweep.begin(pollMs);
    for (const severity of severities) this.#nextLooks[severity].expectIn(0);
  }
}

/** In the order in which they are claimed. */
const severities: Severity[] = ["suspicious", "info"];

/** Unique across databases too: alert ids start again in a new one, and receivers remember what they have seen. */
function webhookId(delivery: { id: number; issuanceId: string }): string {
  return `certwatch_${delivery.id}_${delivery.issuanceId.slice(0, 16)}`;
}
