import { beforeEach, describe, expect, test } from "vitest";
import { concurrency, type HeldEvent, HeldEvents } from "../../src/alerts/held-events.ts";
import { Patience } from "../../src/alerts/patience.ts";
import type { Severity } from "../../src/alerts/payload.ts";

const outcome = {
  id: 0,
  issuance_id: "",
  lease: "",
  delivered: true,
  error: null,
  postponed: false,
  retry_after_seconds: null,
};
const delivery = (id: number, severity: Severity, bytes = 1_300) => ({
  id,
  severity,
  eventType: null,
  incidentKey: null,
  lease: "2026-01-01T00:00:00Z",
  bytes,
  attempts: 0,
  postponedSeconds: null,
  issuanceId: "",
  matchBasis: "none",
  reason: "",
  payload: {} as HeldEvent["delivery"]["payload"],
});

describe("HeldEvents", () => {
  let held: HeldEvents;
  beforeEach(() => {
    held = new HeldEvents();
  });

  const add = (id: number, severity: Severity, claimedMs = performance.now()) =>
    held.add(delivery(id, severity), claimedMs);
  const addOf = (bytes: number, id: number, severity: Severity) =>
    held.add(delivery(id, severity, bytes), performance.now());
  const nextIds = () => {
    const ids: number[] = [];
    for (let event = held.next(); event !== null; event = held.next()) ids.push(event.delivery.id);
    return ids;
  };

  test("suspicious ones go first, then in order of their claim", () => {
    for (const [id, severity] of [
      [1, "info"],
      [2, "suspicious"],
      [3, "info"],
      [4, "suspicious"],
    ] as const)
      add(id, severity);
    expect(nextIds()).toEqual([2, 4, 1, 3]);
  });

  test("info leaves eight connections and 64 places free, suspicious takes them all", () => {
    const infoPlaces = held.freePlaces("info");
    const places = held.freePlaces("suspicious");
    expect(places - infoPlaces).toBe(64);
    for (let id = 1; id <= infoPlaces; id += 1) add(id, "info");
    expect([held.freePlaces("info"), held.freePlaces("suspicious")]).toEqual([0, 64]);
    expect(nextIds()).toHaveLength(concurrency - 8);
    for (let id = 1001; id <= 1064; id += 1) add(id, "suspicious");
    expect([held.freePlaces("info"), held.freePlaces("suspicious")]).toEqual([0, 0]);
    expect(nextIds()).toEqual([1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008]);
  });

  test("a place that is reserved is not free, until reservations end", () => {
    const places = held.freePlaces("suspicious");
    for (let i = 0; i < places; i += 1) expect(held.reserve("suspicious", 1_300)).toBe(true);
    expect(held.reserve("suspicious", 1_300)).toBe(false);
    expect([held.isBusy, held.freePlaces("suspicious")]).toEqual([true, 0]);
    for (let i = 0; i < places; i += 1) held.endReservation(1_300);
    expect([held.isBusy, held.freePlaces("suspicious")]).toEqual([false, places]);
  });

  const MiB = 1024 * 1024;

  test("64 MiB are held, of which info leaves 16 free; large ones keep as many connections busy as small ones", () => {
    expect([held.freeBytes("info"), held.freeBytes("suspicious")]).toEqual([48 * MiB, 64 * MiB]);
    for (let id = 1; id <= 47; id += 1) addOf(MiB, id, "info");
    expect(held.claimable("info")).toBeGreaterThan(0);
    expect(nextIds()).toHaveLength(concurrency - 8);
    addOf(1, 48, "info");
    // No room is left for an event of 1 MiB: the next outcome makes some.
    expect([held.freeBytes("info"), held.claimable("info")]).toEqual([MiB - 1, 0]);
    expect(held.claimable("suspicious")).toBeGreaterThan(0);
    for (let id = 1001; id <= 1008; id += 1) addOf(MiB, id, "suspicious");
    expect(nextIds()).toEqual([1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008]);
  });

  test("bytes that are reserved are not free, and those of an event are free when it leaves", () => {
    expect(held.reserve("info", 48 * MiB + 1)).toBe(false);
    expect(held.reserve("info", 48 * MiB)).toBe(true);
    expect([held.reserve("info", 1), held.freeBytes("suspicious")]).toEqual([false, 16 * MiB]);
    held.endReservation(48 * MiB);
    expect(held.freeBytes("info")).toBe(48 * MiB);
    addOf(MiB, 1, "info");
    addOf(2 * MiB, 1, "info"); // claimed again
    expect(held.freeBytes("info")).toBe(46 * MiB);
    held.removeUnfinished();
    expect(held.freeBytes("info")).toBe(48 * MiB);
  });

  test("an event leaves when its outcome is written down, and its connection is free when the attempt ends", () => {
    add(1, "info");
    const event = held.next()!;
    expect([held.isBusy, held.ended()]).toEqual([true, []]);
    held.end(event, outcome);
    expect([held.isBusy, held.ended()]).toEqual([false, [event]]);
    add(1, "info"); // claimed again, before its success was written down
    expect(held.next()).toBeNull();
    held.remove([event]);
    expect(held.ended()).toEqual([]);
  });

  test("what waited for ten seconds is not tried any more, but given back", () => {
    add(1, "info", performance.now() - 10_001);
    add(2, "info", performance.now() - 9_000);
    expect(nextIds()).toEqual([2]);
    const overdue = held.overdue();
    expect(overdue.map((event) => event.delivery.id)).toEqual([1]);
    held.remove(overdue);
    expect(held.overdue()).toEqual([]);
  });

  describe("while the receiver asks for patience", () => {
    let patience: Patience;
    beforeEach(() => {
      patience = new Patience({ paceMs: 0 });
      held = new HeldEvents(patience);
    });
    const ask = (retryAfterSeconds: number) =>
      patience.heard({ kind: "later", error: "", retryAfterSeconds }, performance.now());

    test("nothing is tried during the wait: what waits is given back, and nothing is claimed", () => {
      for (const id of [1, 2, 3]) add(id, "suspicious");
      ask(60);
      expect([held.claimable("suspicious"), held.reserve("suspicious", 1_300)]).toEqual([0, false]);
      expect(held.next()).toBeNull();
      expect(held.overdue().map((event) => event.delivery.id)).toEqual([1, 2, 3]);
    });

    test("then one is claimed and tried at a time", () => {
      ask(0);
      expect([held.claimable("suspicious"), held.claimable("info")]).toEqual([1, 1]);
      add(1, "suspicious");
      add(2, "info");
      const event = held.next()!;
      expect(event.delivery.id).toBe(1);
      expect([held.claimable("suspicious"), held.claimable("info"), held.next()]).toEqual([0, 0, null]);
      expect(held.overdue().map(({ delivery }) => delivery.id)).toEqual([2]);
      held.end(event, outcome);
      // A refused `suspicious` event goes back to the table first: there it is claimed before any `info` one.
      expect(held.claimable("info")).toBe(0);
      held.remove([event]);
      expect(held.claimable("info")).toBe(1);
    });

    test("an event that was postponed before tells so", () => {
      held.add({ ...delivery(1, "info"), postponedSeconds: 7 }, performance.now());
      add(2, "info");
      expect(nextIds()).toEqual([1]);
    });
  });

  test("at the end everything without an outcome is taken out, and nothing is tried any more", () => {
    const places = held.freePlaces("info");
    for (let id = 1; id <= 30; id += 1) add(id, "info");
    expect(nextIds()).toHaveLength(concurrency - 8);
    expect(held.removeUnfinished()).toHaveLength(30);
    expect([held.freePlaces("info"), held.next()]).toEqual([places, null]);
  });
});
