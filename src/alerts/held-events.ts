import type { Delivery, Outcome } from "./outbox.ts";
import type { Severity } from "./payload.ts";

/** Attempts under way at once: as many connections to the receiver. */
export const concurrency = 32;
/** Events held at once. More than attempts, so that few statements claim many and settle many. */
const maxHeld = 512;
/** Fewer are not worth a claim while others wait: each looks past all that are held. */
const smallestClaim = 192;
/** Of these, how many only `suspicious` events may use: a flood of renewals never delays a hijack. */
const reservedAttempts = 8;
const reservedPlaces = 64;
/**
 * An event that was claimed this long ago and not tried is given back: its lease outlasts an attempt by 30 s, in which
 * the outcome has to be committed.
 */
const maxWaitMs = 10_000;

/** An event that this process holds, from its claim to the commit of its outcome. */
export interface HeldEvent {
  readonly delivery: Delivery;
  /** By the monotonic clock, and not later than by the database's: when its lease began. */
  readonly claimedMs: number;
  /** `null` while the receiver has not answered. */
  outcome: Outcome | null;
}

/**
 * The events that this process holds: waiting for a connection, under way, or with an outcome that is not committed yet.
 * Bounded, so that neither a slow receiver nor a slow database makes more of them wait in memory; `suspicious` ones go
 * first, and have places and connections that `info` ones cannot take.
 */
export class HeldEvents {
  /** By id; an event leaves when its outcome is committed, or when it was given back. */
  readonly #held = new Map<number, HeldEvent>();
  /** In the order in which they came. */
  readonly #waiting: Record<Severity, HeldEvent[]> = { suspicious: [], info: [] };
  /** Waited too long. */
  #overdue: HeldEvent[] = [];
  #underWay = 0;
  #reserved = 0;

  /** Attempts under way, or places that somebody is about to fill. */
  get isBusy(): boolean {
    return this.#underWay > 0 || this.#reserved > 0;
  }

  /** How many events of this severity to claim now: none while others wait and few places are free. */
  claimable(severity: Severity): number {
    const free = this.freePlaces(severity);
    return free < smallestClaim && this.#waiting[severity].length >= concurrency ? 0 : free;
  }

  /** How many more of this severity may be held. */
  freePlaces(severity: Severity): number {
    const places = severity === "suspicious" ? maxHeld : maxHeld - reservedPlaces;
    return Math.max(places - this.#held.size - this.#reserved, 0);
  }

  /** Keeps a place for an event that is going to be claimed; false where there is none. */
  reserve(severity: Severity): boolean {
    if (this.freePlaces(severity) === 0) return false;
    this.#reserved += 1;
    return true;
  }

  /** Gives `count` reserved places back: their events were claimed, or will not be. */
  endReservations(count: number): void {
    this.#reserved -= count;
  }

  add(delivery: Delivery, claimedMs: number): void {
    // Its lease ended before its success could be written down; that counts whoever holds it.
    const before = this.#held.get(delivery.id);
    if (before?.outcome?.delivered && before.delivery.issuanceId === delivery.issuanceId) return;
    const event = { delivery, claimedMs, outcome: null };
    this.#held.set(delivery.id, event);
    this.#waiting[delivery.severity].push(event);
  }

  /** Takes the next event that may be tried now, and counts it as under way until {@link end}. */
  next(): HeldEvent | null {
    this.dropOverdue();
    const severity = this.#waiting.suspicious.length > 0 ? "suspicious" : "info";
    const limit = severity === "suspicious" ? concurrency : concurrency - reservedAttempts;
    if (this.#underWay >= limit) return null;
    const event = this.#waiting[severity].shift();
    if (event === undefined) return null;
    this.#underWay += 1;
    return event;
  }

  /** An attempt has ended; `null`: its outcome is not known. */
  end(event: HeldEvent, outcome: Outcome | null): void {
    this.#underWay -= 1;
    event.outcome = outcome;
  }

  /** Those that waited too long are no longer tried: see {@link overdue}. */
  dropOverdue(): void {
    const latestMs = performance.now() - maxWaitMs;
    for (const waiting of Object.values(this.#waiting)) {
      while (waiting.length > 0 && waiting[0]!.claimedMs < latestMs) this.#overdue.push(waiting.shift()!);
    }
  }

  /** Events with an outcome that is to be committed. */
  ended(): HeldEvent[] {
    return [...this.#held.values()].filter(({ outcome }) => outcome !== null);
  }

  /** Events to give back, for any replica to claim. */
  overdue(): HeldEvent[] {
    return this.#overdue.filter((event) => this.#held.get(event.delivery.id) === event);
  }

  /** Takes out what was committed or given back. */
  remove(events: HeldEvent[]): void {
    for (const event of events) {
      // It may have been claimed again meanwhile, if its lease had ended.
      if (this.#held.get(event.delivery.id) === event) this.#held.delete(event.delivery.id);
    }
    this.#overdue = this.overdue();
  }

  /** Takes out everything that has no outcome. */
  removeUnfinished(): HeldEvent[] {
    const unfinished = [...this.#held.values()].filter(({ outcome }) => outcome === null);
    for (const waiting of Object.values(this.#waiting)) waiting.length = 0;
    this.remove(unfinished);
    return unfinished;
  }
}
