import type { Database } from "../db/pool.ts";
import type { Logger } from "../log.ts";
import { Loop } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import { DeliveryReport } from "./delivery-report.ts";
import type { HeldEvent, HeldEvents } from "./held-events.ts";
import type { Severity } from "./payload.ts";
import { releaseDeliveries, settleDeliveries } from "./sql/settle-deliveries.ts";

const deadlineMs = 10_000;
/** When to try again to write an outcome into a row that somebody else has locked. */
const lockedMs = 200;
/** How long a stop goes on trying. */
const finishPatienceMs = 1_500;

export interface SettlerOptions {
  db: Database;
  log: Logger;
  metrics: Metrics;
  held: HeldEvents;
  /** An event that was held is due again in `waitMs`. */
  onDue: (severity: Severity, waitMs: number) => void;
  /** Events have left `held`. */
  onPlacesFree: () => void;
  onError: (error: unknown) => void;
}

/** Writes down how attempts ended, and gives back events that waited too long for one. Those events are held no more. */
export class Settler {
  readonly loop: Loop;
  readonly #options: SettlerOptions;
  readonly #report: DeliveryReport;

  constructor(options: SettlerOptions) {
    this.#options = options;
    this.#report = new DeliveryReport(options);
    this.loop = new Loop({
      name: "delivery outcomes",
      step: () => this.#settle(),
      onError: options.onError,
    });
  }

  /**
   * For a stop, when no attempt is under way any more: writes the last outcomes down, gives everything else back, and tells
   * what could not be written. Never rejects.
   */
  async finish(): Promise<void> {
    const { db, held, onError } = this.#options;
    try {
      const endMs = performance.now() + finishPatienceMs;
      await this.#settle();
      while (held.ended().length > 0 && performance.now() < endMs) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        await this.#settle();
      }
      this.#report.locked(held.ended());
      // Aborted attempts have no known outcome and do not count: the events are due again at once.
      const unfinished = held.removeUnfinished();
      if (unfinished.length > 0) await releaseDeliveries(db, claimsOf(unfinished), deadlineMs);
    } catch (error) {
      // The database is away: those events wait for the end of their lease, as after a crash.
      onError(error);
    }
  }

  async #settle(): Promise<number> {
    const { held, onPlacesFree } = this.#options;
    const ended = held.ended();
    const overdue = held.overdue();
    if (ended.length + overdue.length === 0) return Number.POSITIVE_INFINITY;
    const hasLocked = ended.length > 0 && (await this.#settleEnded(ended));
    if (overdue.length > 0) await this.#giveBack(overdue);
    onPlacesFree();
    return hasLocked ? lockedMs : 0;
  }

  /** @returns whether somebody else has locked the rows of some: they stay held, with their outcomes. */
  async #settleEnded(ended: HeldEvent[]): Promise<boolean> {
    const { db, held, onDue } = this.#options;
    const outcomes = ended.map(({ outcome }) => outcome!);
    const lockedIds = new Set(await settleDeliveries(db, outcomes, deadlineMs));
    // Committed. A crash before it repeats the attempts, with the same webhook-id, after the leases.
    const settled = ended.filter(({ delivery }) => !lockedIds.has(delivery.id));
    held.remove(settled);
    for (const { delivery, outcome } of settled) {
      this.#report.outcome(delivery, outcome!);
      const { retry_after_seconds: retryAfterSeconds } = outcome!;
      if (retryAfterSeconds !== null) onDue(delivery.severity, retryAfterSeconds * 1000);
    }
    return lockedIds.size > 0;
  }

  async #giveBack(overdue: HeldEvent[]): Promise<void> {
    const { db, held, onDue } = this.#options;
    await releaseDeliveries(db, claimsOf(overdue), deadlineMs);
    held.remove(overdue);
    for (const { delivery } of overdue) onDue(delivery.severity, 0);
  }
}

const claimsOf = (events: HeldEvent[]) => events.map(({ delivery }) => delivery);
