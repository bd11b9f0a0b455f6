import type { Database } from "../db/pool.ts";
import type { Logger } from "../log.ts";
import { Loop } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import { DeliveryReport } from "./delivery-report.ts";
import { HeldEvents } from "./held-events.ts";
import { NextLook } from "./next-look.ts";
import type { JudgedCertificate, Judgement, Verdict } from "./outbox.ts";
import { Patience } from "./patience.ts";
import type { Severity } from "./payload.ts";
import { Poster } from "./post.ts";
import { Settler } from "./settle.ts";
import { claimDeliveries, millisecondsToNextDelivery } from "./sql/claim-deliveries.ts";
import { adoptObserved, giveUpExpired } from "./sql/sweep-deliveries.ts";
import type { WebhookSender } from "./webhook.ts";

/** How often to look for events that other replicas left behind. */
const pollMs = 5_000;
const deadlineMs = 10_000;
/**
 * Shortest pause when the database says "due now" but the claim returned fewer rows than asked for: another replica has
 * locked them.
 */
const minWaitMs = 20;
/** The pause where every due row is locked by somebody else. */
const lockedMs = 200;
/**
 * A lease is this much longer than an attempt may take. In that time the event waits for a connection, and its outcome
 * is committed.
 */
const leaseMarginSeconds = 30;

export interface DelivererOptions {
  db: Database;
  log: Logger;
  metrics: Metrics;
  /** The deliverer closes it when it stops. */
  sender: WebhookSender;
  timeoutSeconds: number;
  maxAttempts: number;
  patience?: Patience;
  onError: (error: unknown) => void;
}

/**
 * Delivers events. It claims the events that are due, or is handed events that the judge's statement has claimed for
 * it; posts each; and writes the outcome down. Every event arrives at least once: where an outcome could not be
 * committed before the lease ended, the event is sent again with the same `webhook-id`.
 */
export class Deliverer {
  /** Claims the events that nobody claimed when they were judged: retries, a backlog, what other replicas left behind. */
  readonly claiming: Loop;
  /** Writes outcomes into the table. */
  readonly settling: Loop;
  readonly #options: DelivererOptions;
  /** The length of every claim of this process. */
  readonly #leaseSeconds: number;
  readonly #patience: Patience;
  readonly #held: HeldEvents;
  readonly #report: DeliveryReport;
  readonly #poster: Poster;
  readonly #settler: Settler;
  /** When to ask the database again for events of this severity that are due and that nobody holds. */
  readonly #nextLooks: Record<Severity, NextLook> = { suspicious: new NextLook(), info: new NextLook() };
  readonly #nextSweep = new NextLook();
  #isStopping = false;

  constructor(options: DelivererOptions) {
    this.#options = options;
    this.#report = new DeliveryReport(options);
    const { onError, timeoutSeconds, patience = new Patience() } = options;
    this.#patience = patience;
    this.#held = new HeldEvents(patience);
    this.#leaseSeconds = timeoutSeconds + leaseMarginSeconds;
    this.claiming = new Loop({ name: "delivery", step: () => this.#claim(), onError });
    this.#settler = new Settler({
      ...options,
      held: this.#held,
      onDue: (severity, waitMs) => this.#nextLooks[severity].expectIn(waitMs),
      onPlacesFree: () => this.claiming.wake(),
    });
    this.settling = this.#settler.loop;
    this.#poster = new Poster({
      ...options,
      patience,
      held: this.#held,
      onEnded: () => this.settling.wake(),
      onPatience: () => this.claiming.wake(),
    });
  }

  /**
   * Commits verdicts, and claims their events in the same statement, as many as this process has places for. The claimed
   * events are posted at once. The others are claimed as soon as a place is free.
   *
   * @param judge commits the verdicts; its claims last `leaseSeconds`. This method rejects with what `judge` throws.
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
      this.#poster.postWaiting();
      // Reserved places were not used up: the claim loop, which saw them as taken, may now fill them.
      if (reserved > claimed.length) this.claiming.wake();
    }
    if (judged.some(({ isEvent, delivery }) => isEvent && delivery === null)) this.wake();
    return judged;
  }

  /** False where no place is free, or where other events have been due for longer: those go first. */
  #reserve(severity: Severity): boolean {
    return !this.#isStopping && !this.#nextLooks[severity].isDue && this.#held.reserve(severity);
  }

  /** Tells the deliverer that events are due which nobody holds: it claims them as soon as a place is free. */
  wake(): void {
    for (const severity of severities) this.#nextLooks[severity].expectIn(0);
    this.claiming.wake();
  }

  /** Ends claiming, lets running attempts end for `timeoutMs`, writes their outcomes down, and gives all other events back. */
  async stop(timeoutMs: number): Promise<void> {
    // A claim that is under way may still bring events: they are held, not posted, and given back below.
    this.#isStopping = true;
    this.#poster.stop();
    await this.claiming.stop();
    const endMs = performance.now() + timeoutMs;
    while (this.#held.isBusy && performance.now() < endMs) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await this.settling.stop();
    await this.#poster.cutOff();
    await this.#settler.finish();
  }

  async #claim(): Promise<number> {
    if (this.#nextSweep.isDue) await this.#sweep();
    this.#held.dropOverdue();
    if (this.#held.overdue().length > 0) this.settling.wake();
    for (const severity of severities) await this.#claimDue(severity);
    // A severity without enough free places is left out: the next outcome wakes this loop, or the end of the receiver's
    // patience does.
    const waitsMs = severities
      .filter((severity) => this.#held.claimable(severity) > 0)
      .map((severity) => this.#nextLooks[severity].waitMs);
    return Math.min(this.#nextSweep.waitMs, this.#patience.waitMs || Number.POSITIVE_INFINITY, ...waitsMs);
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
      this.#poster.postWaiting();
      if (claimed.length === limit) return nextLook.expectIn(0);
      const nextMs = await millisecondsToNextDelivery(db, severity, deadlineMs);
      nextLook.expectIn(nextMs <= 0 && claimed.length === 0 ? lockedMs : Math.max(nextMs, minWaitMs));
    } catch (error) {
      nextLook.expectIn(0);
      throw error;
    }
  }

  async #sweep(): Promise<void> {
    const { db } = this.#options;
    for (const id of await giveUpExpired(db, deadlineMs)) this.#report.givenUpUnsent(id);
    this.#report.adopted(await adoptObserved(db, deadlineMs));
    this.#nextSweep.begin(pollMs);
    for (const severity of severities) this.#nextLooks[severity].expectIn(0);
  }
}

/** The order of claiming. */
const severities: Severity[] = ["suspicious", "info"];
