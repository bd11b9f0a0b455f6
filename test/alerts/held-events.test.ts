import { beforeEach, describe, expect, test } from "vitest";
import { concurrency, type HeldEvent, HeldEvents } from "../../src/alerts/held-events.ts";
import type { Severity } from "../../src/alerts/payload.ts";

const outcome = {
  id: 0,
  issuance_id: "",
  lease: "",
  delivered: true,
  error: null,
  retry_after_seconds: null,
};
const delivery = (id: number, severity: Severity) => ({
  id,
  severity,
  lease: "2026-01-01T00:00:00Z",
  attempts: 0,
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
    for (let i = 0; i < places; i += 1) expect(held.reserve("suspicious")).toBe(true);
    expect(held.reserve("suspicious")).toBe(false);
    expect([held.isBusy, held.freePlaces("suspicious")]).toEqual([true, 0]);
    held.endReservations(places);
    expect([held.isBusy, held.freePlaces("suspicious")]).toEqual([false, places]);
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

  test("at the end everything without an outcome is taken out, and nothing is tried any more", () => {
    const places = held.freePlaces("info");
    for (let id = 1; id <= 30; id += 1) add(id, "info");
    expect(nextIds()).toHaveLength(concurrency - 8);
    expect(held.removeUnfinished()).toHaveLength(30);
    expect([held.freePlaces("info"), held.next()]).toEqual([places, null]);
  });
});
