import type { Payload } from "../../../src/alerts/payload.ts";
import type { Delivery } from "../../../src/demo/receiver.ts";
import type { Change } from "./history.ts";
import type { Item } from "./stock.ts";

/** How long after a 2xx its outcome may be uncommitted without anything being wrong: the machine may be busy. */
const commitPatienceMs = 5_000;
/** Between the kill and the moment when this process notices that its victim is gone. */
const noticeMs = 1_000;
/** The longest back-off of src/loop.ts: for so long after an outage outcomes may still wait to be committed. */
const maxBackoffMs = 30_000;
/** Clocks of this process and of the timers of the program under test, rounding included. */
const leaseToleranceMs = 500;

/** Something that may make a delivery be repeated. */
interface Disturbance {
  what: string;
  fromMs: number;
  untilMs: number;
}

/** Figures of a test, for people. */
export interface Figures {
  /** Issuances of which at least one certificate was sent. */
  sent: number;
  /** Messages with certificates, repetitions included. */
  messages: number;
  /** Issuances that came into the database. */
  recorded: number;
  /** Events in the history: one for each issuance recorded. */
  events: number;
  /** Events whose delivery was answered with 2xx. */
  delivered: number;
  /** Deliveries after the first of the same `webhook-id`. */
  repeated: number;
  kills: number;
  outages: number;
}

/**
 * The books of a test: what was sent, what became of it in the database (by its history) and at the receiver, and
 * whether that keeps the promise.
 */
export class Ledger {
  readonly #sent = new Map<string, Item>();
  readonly #accepted: Delivery[] = [];
  readonly #disturbances: Disturbance[] = [];
  readonly #forwardsMs: number[] = [];
  #messages = 0;
  #kills = 0;
  #outages = 0;

  noteSent(item: Item, messages = 1): void {
    this.#sent.set(item.name, item);
    this.#messages += messages;
  }

  /** A delivery that was answered with 2xx. */
  noteAccepted(delivery: Delivery): void {
    this.#accepted.push(delivery);
  }

  noteKill(): void {
    this.#kills += 1;
    this.#disturbances.push({ what: "kill", fromMs: Date.now(), untilMs: Date.now() + noticeMs });
  }

  /** The database is being disturbed from now on; call what is returned when it no longer is. */
  noteOutage(what: string): () => void {
    this.#outages += 1;
    const outage: Disturbance = { what, fromMs: Date.now(), untilMs: Number.POSITIVE_INFINITY };
    this.#disturbances.push(outage);
    return () => {
      outage.untilMs = Date.now() + maxBackoffMs;
    };
  }

  /** The test has made leases of the dead end before their time. */
  noteForwarded(): void {
    this.#forwardsMs.push(Date.now());
  }

  get sentItems(): Item[] {
    return [...this.#sent.values()];
  }

  get deliveredNames(): Set<string> {
    return new Set(this.#accepted.map(nameOf));
  }

  figures(history: Change[]): Figures {
    const ids = new Set(this.#accepted.map(webhookIdOf));
    return {
      sent: this.#sent.size,
      messages: this.#messages,
      recorded: new Set(history.map(({ name }) => name)).size,
      events: new Set(history.filter(isEvent).map(({ id }) => id)).size,
      delivered: ids.size,
      repeated: this.#accepted.length - ids.size,
      kills: this.#kills,
      outages: this.#outages,
    };
  }

  /** Items of which nothing ever came into the database. */
  unrecorded(history: Change[]): Item[] {
    const recorded = new Set(history.map(({ name }) => name));
    return this.sentItems.filter(({ name }) => !recorded.has(name));
  }

  /**
   * Everything that breaks the promise, one line each; empty where it is kept. To be asked when nothing is under way
   * any more.
   *
   * @param leaseMs of a claim: no repeat comes sooner, unless the test has forwarded leases.
   * @param isPruned rows may have been deleted by the cleanup.
   */
  violations(history: Change[], options: { leaseMs: number; isPruned?: boolean }): string[] {
    return [
      ...this.#lifeViolations(history, options.isPruned ?? false),
      ...this.#eventViolations(history),
      ...this.#deliveryViolations(history),
      ...this.#repeatViolations(history, options.leaseMs),
    ];
  }

  /** Each row: recorded as pending, then an event for good, then delivered for good; gone only where it was merged. */
  #lifeViolations(history: Change[], isPruned: boolean): string[] {
    const violations: string[] = [];
    const merged = new Set(history.flatMap(({ mergedKeys }) => mergedKeys ?? []));
    const last = new Map<number, Change>();
    /** Of the rows that are there, at each moment. */
    const keys = new Map<string, number>();
    for (const change of history) {
      const before = last.get(change.id);
      last.set(change.id, change);
      const say = (what: string) => violations.push(`row ${change.id} (${change.name}) ${what}`);
      if ((before === undefined) !== (change.operation === "INSERT"))
        say(`was ${change.operation}ed out of turn`);
      if (before === undefined) {
        if (change.severity !== "pending") say(`began as ${change.severity}`);
        const other = keys.get(change.certificateKey);
        if (other !== undefined) say(`is the same certificate as row ${other}`);
        keys.set(change.certificateKey, change.id);
        continue;
      }
      if (before.operation === "DELETE") say("lived on after its end");
      if (before.severity !== "pending" && change.severity !== before.severity)
        say(`turned from ${before.severity} to ${change.severity}`);
      if (before.delivered && !change.delivered) say("was delivered, and then was not");
      if (change.operation !== "DELETE") continue;
      keys.delete(change.certificateKey);
      const isMerge = change.severity === "pending" && merged.has(change.certificateKey);
      if (!isMerge && !(isPruned && change.delivered))
        say("was deleted without having been merged or delivered");
    }
    for (const { id, name, operation, severity, delivered, givenUp } of last.values()) {
      if (operation === "DELETE") continue;
      if (severity === "pending") violations.push(`row ${id} (${name}) was never judged`);
      else if (!delivered && !givenUp)
        violations.push(`row ${id} (${name}) was neither delivered nor given up`);
    }
    return violations;
  }

  /** One event for each issuance, of the right severity, and nothing that was not sent. */
  #eventViolations(history: Change[]): string[] {
    const violations: string[] = [];
    const events = groupBy(history.filter(isEvent), ({ name }) => name);
    for (const [name, changes] of events) {
      const item = this.#sent.get(name);
      const ids = new Set(changes.map(({ id }) => id));
      if (item === undefined) violations.push(`${name} became an event and was never sent`);
      if (ids.size > 1) violations.push(`${name} became ${ids.size} events: rows ${[...ids].join(", ")}`);
      const wanted = item?.isKnown ? "info" : "suspicious";
      const severities = new Set(changes.map(({ severity }) => severity));
      if (!severities.has(wanted))
        violations.push(`${name} was judged ${[...severities].join(", ")}, not ${wanted}`);
    }
    for (const name of new Set(history.map((change) => change.name))) {
      if (!events.has(name)) violations.push(`${name} was recorded and became no event`);
    }
    return violations;
  }

  /** What the database calls delivered was delivered, and the other way round. */
  #deliveryViolations(history: Change[]): string[] {
    const violations: string[] = [];
    const idOf = new Map(history.filter(({ delivered }) => delivered).map(({ name, id }) => [name, id]));
    const byName = groupBy(this.#accepted, nameOf);
    for (const name of idOf.keys()) {
      if (!byName.has(name)) violations.push(`${name} counts as delivered and never arrived`);
    }
    for (const [name, deliveries] of byName) {
      const ids = new Set(deliveries.map(webhookIdOf));
      if (ids.size > 1) violations.push(`${name} arrived with ${ids.size} ids: ${[...ids].join(", ")}`);
      const alertIds = new Set(deliveries.map(({ json }) => (json as Payload).alert_id));
      if (!alertIds.has(idOf.get(name) ?? -1))
        violations.push(`${name} arrived and does not count as delivered`);
    }
    return violations;
  }

  /**
   * A repeat needs a kill or an outage before its first delivery was committed, and then waits for the end of the lease
   * that the claim gave it: the last change of the row before the first delivery arrived.
   */
  #repeatViolations(history: Change[], leaseMs: number): string[] {
    const violations: string[] = [];
    const changes = groupBy(history, ({ id }) => String(id));
    for (const [webhookId, deliveries] of groupBy(this.#accepted, webhookIdOf)) {
      for (const [index, { receivedAtMs }] of deliveries.entries()) {
        const next = deliveries[index + 1]?.receivedAtMs;
        if (next === undefined) continue;
        const name = `${nameOf(deliveries[0]!)} (${webhookId})`;
        const isExplained = this.#disturbances.some(
          ({ fromMs, untilMs }) => fromMs <= receivedAtMs + commitPatienceMs && untilMs >= receivedAtMs,
        );
        const afterMs = next - receivedAtMs;
        const claim = changes
          .get(String((deliveries[0]!.json as Payload).alert_id))
          ?.findLast(({ at, leaseUntil }) => leaseUntil !== null && at.getTime() <= receivedAtMs);
        const leaseEndMs = claim?.leaseUntil?.getTime() ?? receivedAtMs + leaseMs;
        const leasedMs = leaseEndMs - (claim?.at.getTime() ?? receivedAtMs);
        const wasForwarded = this.#forwardsMs.some((ms) => ms >= receivedAtMs && ms <= next);
        if (!isExplained) violations.push(`${name} was repeated after ${afterMs} ms, without kill or outage`);
        else if (leasedMs < leaseMs - commitPatienceMs)
          violations.push(`${name} was leased for ${leasedMs} ms, not ${leaseMs} ms`);
        else if (next < leaseEndMs - leaseToleranceMs && !wasForwarded)
          violations.push(
            `${name} was repeated after ${afterMs} ms, ${leaseEndMs - next} ms before its lease ended`,
          );
      }
    }
    return violations;
  }
}

const isEvent = ({ severity }: Change) => severity !== "pending";
const webhookIdOf = ({ headers }: Delivery) => String(headers["webhook-id"]);
const nameOf = ({ json }: Delivery) => (json as Payload).all_sans[0]!;

function groupBy<T>(values: readonly T[], keyOf: (value: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const value of values) {
    const group = groups.get(keyOf(value));
    if (group === undefined) groups.set(keyOf(value), [value]);
    else group.push(value);
  }
  return groups;
}
