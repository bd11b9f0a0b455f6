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
import { smallRowBytes } from "./sql/row-bytes.ts";
import { adoptObserved, giveUpExpired } from "./sql/sweep-deliveries.ts";
import type { WebhookSender } from "./webhook.ts";

/** The longest time between two looks for due events; finds events that other replicas left behind. */
const pollMs = 5_000;
const deadlineMs = 10_000;
/**
 * The shortest pause if the database says "due now" but the claim returned fewer rows than asked for: another replica
 * has locked the others.
 */
const minWaitMs = 20;
/** The pause if somebody else has locked every due row. */
const lockedMs = 200;
/**
 * How much longer a lease is than an attempt may take. In this time the event waits for a connection, and its outcome
 * is committed.
 */
const leaseMarginSeconds = 30;

export interface DelivererOptions {
  db: Database;
  log: Logger;
  metrics: Metrics;
  /** Sends the requests. The deliverer closes this sender when it stops. */
  sender: WebhookSender;
  timeoutSeconds: number;
  maxAttempts: number;
  patience?: Patience;
  onError: (error: unknown) => void;
}

/**
 * Delivers events: claims due events, or takes events that the judge's statement claimed for it; posts each; and
 * commits the outcome. Every event arrives at least once: if an outcome is not committed before the lease ends, the
 * event is sent again with the same `webhook-id`.
 */
export class Deliverer {
  /** Claims the events that nobody claimed when they were judged: retries, a backlog, leftovers of other replicas. */
  readonly claiming: Loop;
  /** Writes outcomes into the table. */
  readonly settling: Loop;
  readonly #options: DelivererOptions;
  /** How long every claim of this process lasts. */
  readonly #leaseSeconds: number;
  readonly #patience: Patience;
  readonly #held: HeldEvents;
  readonly #report: DeliveryReport;
  readonly #poster: Poster;
  readonly #settler: Settler;
  /** The next time, for each severity, to ask the database for due events that nobody holds. */
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
   * Commits verdicts, and claims their events in the same statement, as many as this process has places for. Posts the
   * claimed events at once. The other events are claimed as soon as a place is free.
   *
   * @param judge commits the verdicts and claims for `leaseSeconds`. If `judge` throws, this method rejects with its
   * error.
   */
  async claimWhile(
    verdicts: Verdict[],
    judge: (judgements: Judgement[], leaseSeconds: number) => Promise<JudgedCertificate[]>,
  ): Promise<JudgedCertificate[]> {
    const judgements = verdicts.map((verdict) => ({ ...verdict, claim: this.#reserve(verdict) }));
    const reserved = judgements.filter(({ claim }) => claim);
    const claimedMs = performance.now();
    let judged: JudgedCertificate[] = [];
    try {
      judged = await judge(judgements, this.#leaseSeconds);
    } finally {
      for (const { row_bytes } of reserved) this.#held.endReservation(row_bytes);
      const claimed = judged.flatMap(({ delivery }) => delivery ?? []);
      for (const delivery of claimed) this.#held.add(delivery, claimedMs);
      this.#poster.postWaiting();
      // Some reserved places were not used: the claim loop, which saw these places as taken, may now fill them.
      if (reserved.length > claimed.length) this.claiming.wake();
    }
    if (judged.some(({ isEvent, delivery }) => isEvent && delivery === null)) this.wake();
    return judged;
  }

  /**
   * Reserves a place for an event. Returns false if no place is free, if older due events must go first, or if the
   * event is large: the claim loop, which claims by bytes, takes large events.
   */
  #reserve({ severity, row_bytes: bytes }: Verdict): boolean {
    if (this.#isStopping || this.#nextLooks[severity].isDue || bytes > smallRowBytes) return false;
    return this.#held.reserve(severity, bytes);
  }

  /** Tells the deliverer that there are due events that nobody holds. It claims them as soon as a place is free. */
  wake(): void {
    for (const severity of severities) this.#nextLooks[severity].expectIn(0);
    this.claiming.wake();
  }

  /** Stops claiming, waits `timeoutMs` at most for running attempts, commits outcomes, gives back all other events. */
  async stop(timeoutMs: number): Promise<void> {
    // A claim that is under way may still return events. They are held but not posted, and given back below.
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
    // Do not wait for a severity without enough free places: the next outcome, or the end of the wait that the receiver
    // asked for, wakes this loop.
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
    // While the receiver takes one alert at a time, the turn is a `suspicious` event's as long as any may be due.
    if (severity === "info" && this.#patience.isAsked && this.#nextLooks.suspicious.isDue) return;
    nextLook.begin(this.#nextSweep.waitMs);
    try {
      const claimed = await claimDeliveries(db, {
        severity,
        limit,
        maxBytes: this.#held.freeBytes(severity),
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

/** The severities in the order in which they are claimed. */
const severities: Severity[] = ["suspicious", "info"];
