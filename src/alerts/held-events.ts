import type { Delivery, Outcome } from "./outbox.ts";
import { Patience } from "./patience.ts";
import type { Severity } from "./payload.ts";

/** The number of attempts under way at once, and of connections to the receiver. */
export const concurrency = 32;
/** The number of events held at once. It is larger than `concurrency`, so that one statement claims or settles many. */
const maxHeld = 512;
/**
 * While `concurrency` events wait already, claim only into 192 free places or more: every claim statement scans past the
 * rows that this process holds, so a small claim costs as much as a large one.
 */
const smallestClaim = 192;
/** Attempts and places that only `suspicious` events may use: a flood of renewals never delays a hijack. */
const reservedAttempts = 8;
const reservedPlaces = 64;
/**
 * An event that waited this long for a connection is given back. Its lease is only 30 s longer than an attempt, and the
 * outcome has to be committed in that time, too.
 */
const maxWaitMs = 10_000;

/** An event that this process holds, from its claim to the commit of its outcome. */
export interface HeldEvent {
  readonly delivery: Delivery;
  /** When its lease began, by the monotonic clock. Taken before the claim was sent, so never later than the database's time. */
  readonly claimedMs: number;
  /** `null` until the attempt has ended. */
  outcome: Outcome | null;
}

/**
 * The events that this process holds: they wait for a connection, are under way, or have an outcome that is not committed
 * yet. Their number is bounded, so that neither a slow receiver nor a slow database fills the memory. `suspicious` events
 * go first, and have places and connections that `info` events cannot take. While the receiver asks for patience, one
 * event is held at a time.
 */
export class HeldEvents {
  readonly #patience: Patience;
  /** Events by id. An event leaves when its outcome is committed or when it was given back. */
  readonly #held = new Map<number, HeldEvent>();
  /** Events that wait for a connection, in the order of their claims. */
  readonly #waiting: Record<Severity, HeldEvent[]> = { suspicious: [], info: [] };
  /** Events that waited longer than `maxWaitMs`, or would have to wait for the receiver. */
  #overdue: HeldEvent[] = [];
  #underWay = 0;
  #reserved = 0;

  constructor(patience = new Patience()) {
    this.#patience = patience;
  }

  /** True while attempts are under way, or while reserved places are about to be filled. */
  get isBusy(): boolean {
    return this.#underWay > 0 || this.#reserved > 0;
  }

  /** The number of events of this severity to claim now: 0 while enough others wait and few places are free. */
  claimable(severity: Severity): number {
    const free = this.freePlaces(severity);
    if (this.#patience.isAsked) return this.#mayClaimOne(severity) ? Math.min(free, 1) : 0;
    return free < smallestClaim && this.#waiting[severity].length >= concurrency ? 0 : free;
  }

  /**
   * While the receiver asks for patience: whether one event may be claimed. An `info` one has to wait until every
   * `suspicious` one that this process still holds is back in the table, where it goes first.
   */
  #mayClaimOne(severity: Severity): boolean {
    if (!this.#patience.allows(this.isBusy)) return false;
    return (
      severity === "suspicious" ||
      ![...this.#held.values()].some(({ delivery }) => delivery.severity === "suspicious")
    );
  }

  /** The number of further events of this severity that may be held. */
  freePlaces(severity: Severity): number {
    const places = severity === "suspicious" ? maxHeld : maxHeld - reservedPlaces;
    return Math.max(places - this.#held.size - this.#reserved, 0);
  }

  /**
   * Keeps a place for an event that is about to be claimed; false where no place is free, or while the receiver asks for
   * patience.
   */
  reserve(severity: Severity): boolean {
    if (this.#patience.isAsked || this.freePlaces(severity) === 0) return false;
    this.#reserved += 1;
    return true;
  }

  /** Ends `count` reservations: their events have been claimed, or will not be. */
  endReservations(count: number): void {
    this.#reserved -= count;
  }

  add(delivery: Delivery, claimedMs: number): void {
    if (delivery.postponedSeconds !== null) this.#patience.recall();
    // We delivered this event already, but could not commit that before the lease ended, and have now claimed it again.
    // Keep the success (it is valid under any lease) and do not post twice.
    const before = this.#held.get(delivery.id);
    if (before?.outcome?.delivered && before.delivery.issuanceId === delivery.issuanceId) return;
    const event = { delivery, claimedMs, outcome: null };
    this.#held.set(delivery.id, event);
    this.#waiting[delivery.severity].push(event);
  }

  /**
   * Takes the next event that may be tried now, and counts it as under way until {@link end}. `null`: no event may. Those
   * that wait while the receiver asks for patience become {@link overdue}.
   */
  next(): HeldEvent | null {
    this.dropOverdue();
    if (!this.#patience.allows(this.#underWay > 0)) {
      for (const waiting of Object.values(this.#waiting)) this.#overdue.push(...waiting.splice(0));
      return null;
    }
    const severity = this.#waiting.suspicious.length > 0 ? "suspicious" : "info";
    const limit = severity === "suspicious" ? concurrency : concurrency - reservedAttempts;
    if (this.#underWay >= limit) return null;
    const event = this.#waiting[severity].shift();
    if (event === undefined) return null;
    this.#underWay += 1;
    return event;
  }

  /** Notes that an attempt has ended. `null`: its outcome is not known. */
  end(event: HeldEvent, outcome: Outcome | null): void {
    this.#underWay -= 1;
    event.outcome = outcome;
  }

  /** Moves events that waited too long for a connection to {@link overdue}: they are no longer tried. */
  dropOverdue(): void {
    const latestMs = performance.now() - maxWaitMs;
    for (const waiting of Object.values(this.#waiting)) {
      while (waiting.length > 0 && waiting[0]!.claimedMs < latestMs) this.#overdue.push(waiting.shift()!);
    }
  }

  /** Events whose outcome is not committed yet. */
  ended(): HeldEvent[] {
    return [...this.#held.values()].filter(({ outcome }) => outcome !== null);
  }

  /** Events to give back, so that any replica can claim them. */
  overdue(): HeldEvent[] {
    return this.#overdue.filter((event) => this.#held.get(event.delivery.id) === event);
  }

  /** Removes events that were committed or given back. */
  remove(events: HeldEvent[]): void {
    for (const event of events) {
      // If its lease had ended, the same id may have been claimed again meanwhile: that one stays.
      if (this.#held.get(event.delivery.id) === event) this.#held.delete(event.delivery.id);
    }
    this.#overdue = this.overdue();
  }

  /** Removes and returns every event that has no outcome. */
  removeUnfinished(): HeldEvent[] {
    const unfinished = [...this.#held.values()].filter(({ outcome }) => outcome === null);
    for (const waiting of Object.values(this.#waiting)) waiting.length = 0;
    this.remove(unfinished);
    return unfinished;
  }
}
