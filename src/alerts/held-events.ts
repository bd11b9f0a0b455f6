import type { Delivery, Outcome } from "./outbox.ts";
import { Patience } from "./patience.ts";
import type { Severity } from "./payload.ts";
import { maxEventBytes, maxForeignEventBytes } from "./sql/row-bytes.ts";

/** The greatest number of attempts under way at once, and of connections to the receiver. */
export const concurrency = 32;
/** The greatest number of events held at once: more than `concurrency`, so that one statement can claim many. */
const maxHeld = 512;
/**
 * The smallest number of free places for a claim while `concurrency` events wait already: every claim statement scans
 * past the rows that this process holds, so a small claim costs as much as a large claim.
 */
const smallestClaim = 192;
/** The attempts and places that only `suspicious` events may use: a flood of renewals never delays a hijack. */
const reservedAttempts = 8;
const reservedPlaces = 64;
/**
 * The most bytes of events held at once. So many that large events, of 1 MiB each, keep as many connections busy as
 * small ones.
 */
const maxHeldBytes = 64 * 1024 * 1024;
/** The bytes that only `suspicious` events may use: an event of any size fits once they are free. */
const reservedBytes = maxForeignEventBytes;
/**
 * How long an event may wait for a connection before it is given back. Its lease is only 30 s longer than an attempt
 * may take, and its outcome must be committed in these 30 s, too.
 */
const maxWaitMs = 10_000;

/** An event that this process holds, from its claim to the commit of its outcome. */
export interface HeldEvent {
  readonly delivery: Delivery;
  /** The time just before the claim was sent, by the monotonic clock. The lease began no earlier. */
  readonly claimedMs: number;
  /** The outcome of the attempt; `null` until the attempt has ended. */
  outcome: Outcome | null;
}

/**
 * The events that this process holds: they wait for a connection, are being sent, or have an outcome that is not
 * committed yet. Their number and their bytes are bounded, so that neither a slow receiver nor a slow database fills
 * the memory. `suspicious` events go first, and have places, bytes and connections that `info` events cannot take.
 * While the receiver asks for patience (it answered 429 or 503, see {@link Patience}), events are claimed one at a
 * time.
 */
export class HeldEvents {
  readonly #patience: Patience;
  /** The held events by id. An event leaves when its outcome is committed or when it is given back. */
  readonly #held = new Map<number, HeldEvent>();
  /** Events that wait for a connection, in the order of their claims. */
  readonly #waiting: Record<Severity, HeldEvent[]> = { suspicious: [], info: [] };
  /** Events to give back: they waited longer than `maxWaitMs`, or the receiver asks for patience. */
  #overdue: HeldEvent[] = [];
  #underWay = 0;
  /** The bytes of the held events. */
  #bytes = 0;
  #reserved = 0;
  #reservedBytes = 0;

  constructor(patience = new Patience()) {
    this.#patience = patience;
  }

  /** True while attempts are under way, or while reserved places are about to be filled. */
  get isBusy(): boolean {
    return this.#underWay > 0 || this.#reserved > 0;
  }

  /**
   * Returns how many events of this severity to claim now: 0 while few places are free and this process already holds
   * enough waiting events to keep all connections busy.
   */
  claimable(severity: Severity): number {
    const free = this.freeBytes(severity) < maxEventBytes ? 0 : this.freePlaces(severity);
    if (this.#patience.isAsked) return this.#mayClaimOne(severity) ? Math.min(free, 1) : 0;
    return free < smallestClaim && this.#waiting[severity].length >= concurrency ? 0 : free;
  }

  /**
   * Whether one event may be claimed while the receiver asks for patience. An `info` event has to wait until this
   * process has given back all `suspicious` events that it holds, because these are claimed first.
   */
  #mayClaimOne(severity: Severity): boolean {
    if (!this.#patience.allows(this.isBusy)) return false;
    return (
      severity === "suspicious" ||
      ![...this.#held.values()].some(({ delivery }) => delivery.severity === "suspicious")
    );
  }

  /** Returns how many more events of this severity may be held. */
  freePlaces(severity: Severity): number {
    const places = severity === "suspicious" ? maxHeld : maxHeld - reservedPlaces;
    return Math.max(places - this.#held.size - this.#reserved, 0);
  }

  /** Returns how many more bytes of events of this severity may be held. */
  freeBytes(severity: Severity): number {
    const room = severity === "suspicious" ? maxHeldBytes : maxHeldBytes - reservedBytes;
    return Math.max(room - this.#bytes - this.#reservedBytes, 0);
  }

  /**
   * Keeps a place and bytes free for an event that is about to be claimed. Returns false if these are not free, or
   * while the receiver asks for patience.
   */
  reserve(severity: Severity, bytes: number): boolean {
    if (this.#patience.isAsked || this.freePlaces(severity) === 0 || this.freeBytes(severity) < bytes)
      return false;
    this.#reserved += 1;
    this.#reservedBytes += bytes;
    return true;
  }

  /** Ends a reservation of so many bytes: the event has been claimed, or will not be. */
  endReservation(bytes: number): void {
    this.#reserved -= 1;
    this.#reservedBytes -= bytes;
  }

  add(delivery: Delivery, claimedMs: number): void {
    if (delivery.postponedSeconds !== null) this.#patience.recall();
    // We delivered this event already, but could not commit the success before the lease ended, and have now claimed
    // the event again. Keep the success (it is valid under any lease) and do not post twice.
    const before = this.#held.get(delivery.id);
    if (before?.outcome?.delivered && before.delivery.issuanceId === delivery.issuanceId) return;
    const event = { delivery, claimedMs, outcome: null };
    this.#bytes += delivery.bytes - (before?.delivery.bytes ?? 0);
    this.#held.set(delivery.id, event);
    this.#waiting[delivery.severity].push(event);
  }

  /**
   * Takes the next event that may be sent now, and counts it as under way until {@link end}. Returns `null` if none
   * may. If the receiver's patience allows no attempt now, all waiting events become {@link overdue}.
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

  /** Notes that an attempt has ended. `outcome` is `null` if the outcome is not known. */
  end(event: HeldEvent, outcome: Outcome | null): void {
    this.#underWay -= 1;
    event.outcome = outcome;
  }

  /** Moves events that waited too long for a connection to {@link overdue}: this process no longer sends them. */
  dropOverdue(): void {
    const latestMs = performance.now() - maxWaitMs;
    for (const waiting of Object.values(this.#waiting)) {
      while (waiting.length > 0 && waiting[0]!.claimedMs < latestMs) this.#overdue.push(waiting.shift()!);
    }
  }

  /** Returns the events that have an outcome which is not committed yet. */
  ended(): HeldEvent[] {
    return [...this.#held.values()].filter(({ outcome }) => outcome !== null);
  }

  /** Returns the events to give back, so that any replica can claim them. */
  overdue(): HeldEvent[] {
    return this.#overdue.filter((event) => this.#held.get(event.delivery.id) === event);
  }

  /** Removes events that were committed or given back. */
  remove(events: HeldEvent[]): void {
    for (const event of events) {
      // If the lease had ended, this process may have claimed the same id again: the newer claim stays.
      if (this.#held.get(event.delivery.id) !== event) continue;
      this.#held.delete(event.delivery.id);
      this.#bytes -= event.delivery.bytes;
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
