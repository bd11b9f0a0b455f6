import type { Database } from "../db/pool.ts";
import type { Logger } from "../log.ts";
import { Loop } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import { DeliveryReport } from "./delivery-report.ts";
import type { HeldEvent, HeldEvents } from "./held-events.ts";
import type { Severity } from "./payload.ts";
import { releaseDeliveries, settleDeliveries } from "./sql/settle-deliveries.ts";

const deadlineMs = 10_000;
/** The pause before we try again to write an outcome into a row that somebody else has locked. */
const lockedMs = 200;
/** How long a stop keeps trying to write outcomes into locked rows. */
const finishPatienceMs = 1_500;

export interface SettlerOptions {
  db: Database;
  log: Logger;
  metrics: Metrics;
  held: HeldEvents;
  /** Called when an event has left `held` and is due again in `waitMs`. */
  onDue: (severity: Severity, waitMs: number) => void;
  /** Called when events have left `held`: their places are free. */
  onPlacesFree: () => void;
  onError: (error: unknown) => void;
}

/**
 * Writes the outcomes of attempts into the table, and gives back events that waited too long for an attempt. In both
 * cases the event leaves `held`.
 */
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
   * Ends the work at a stop, once no attempt is under way: commits the last outcomes, gives back all other events, and
   * logs the outcomes that could not be committed. Never rejects.
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
      // An attempt that was cut off has no known outcome and does not count: its event is due again at once.
      const unfinished = held.removeUnfinished();
      if (unfinished.length > 0) await releaseDeliveries(db, claimsOf(unfinished), deadlineMs);
    } catch (error) {
      // The database cannot be reached: these events wait until their leases end, as after a crash.
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

  /** @returns true if somebody else has locked some of the rows: their events stay held, with their outcomes. */
  async #settleEnded(ended: HeldEvent[]): Promise<boolean> {
    const { db, held, onDue } = this.#options;
    const outcomes = ended.map(({ outcome }) => outcome!);
    const lockedIds = new Set(await settleDeliveries(db, outcomes, deadlineMs));
    // Now the outcomes are committed. After a crash before this line the attempts are repeated, with the same
    // webhook-id, when the leases have ended.
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
