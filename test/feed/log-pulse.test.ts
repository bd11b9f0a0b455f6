import { beforeEach, describe, expect, test } from "vitest";
import { CtLogs, maxLogs } from "../../src/feed/ct-logs.ts";
import { endsSoon, LogPulse } from "../../src/feed/log-pulse.ts";

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;
const [log, other, third] = ["log.example/2030h2", "other.example/2030h2", "third.example/2030h2"] as const;

describe("a log's pulse", () => {
  let nowMs: number;
  let logs: CtLogs;
  let heard: Float64Array[];
  let pulse: LogPulse;
  let letOff: Set<string>;
  beforeEach(() => {
    nowMs = Date.UTC(2030, 6, 1);
    logs = new CtLogs();
    heard = [new Float64Array(maxLogs), new Float64Array(maxLogs)];
    letOff = new Set();
    pulse = new LogPulse(logs, heard, (url) => letOff.has(url));
    pulse.step(nowMs);
  });

  /** Entries of a log that arrive on a feed at once. */
  function hear(url: string, entries = 1, feed = 0): void {
    heard[feed]![logs.numberOf(url)]! += entries;
  }
  /** Lets time pass in steps of ten seconds, calling `each` once a minute. */
  function pass(durationMs: number, each: () => void = () => {}): void {
    for (let passed = 0; passed < durationMs; passed += 10_000) {
      if (passed % minuteMs === 0) each();
      nowMs += 10_000;
      pulse.step(nowMs);
    }
  }
  const silent = () => pulse.silent().map(({ logUrl }) => logUrl);

  /** The log brings entries, all at once, then only the other log speaks. */
  function fallSilent(entries: number, durationMs: number): void {
    hear(other, 100_000);
    hear(log, entries);
    pass(minuteMs);
    pass(durationMs, () => hear(other));
  }

  test.each([
    [99, 30, []],
    [100, 12, [log]],
    [100, 12 - 1 / 60, []],
    [150, 8, [log]],
    [150, 8 - 1 / 60, []],
    [200, 6, [log]],
    [200, 6 - 1 / 60, []],
    [1_000_000, 6, [log]],
    [1_000_000, 6 - 1 / 60, []],
  ])("%i entries in a day, then %f h without: silent %j", (entries, hours, expected) => {
    fallSilent(entries, Math.round(hours * 60) * minuteMs);
    expect(silent()).toEqual(expected);
  });

  test("is told once when it stops, and once when it comes back", () => {
    fallSilent(500, 10 * hourMs);
    const lastMs = Date.UTC(2030, 6, 1) + 10_000;
    expect(pulse.takeChanges()).toEqual({
      fellSilent: [{ logUrl: log, lastMs, entries: 500 }],
      spokeAgain: [],
    });
    pass(hourMs, () => hear(other));
    expect(pulse.takeChanges()).toEqual({ fellSilent: [], spokeAgain: [] });
    hear(log);
    pass(minuteMs);
    expect(pulse.takeChanges()).toMatchObject({ fellSilent: [], spokeAgain: [{ logUrl: log, lastMs }] });
    expect(silent()).toEqual([]);
    pass(5 * hourMs, () => hear(other));
    expect(silent()).toEqual([]);
    pass(hourMs, () => hear(other));
    expect(pulse.takeChanges().fellSilent).toMatchObject([{ logUrl: log, entries: 501 }]);
  });

  test("counts the entries of the day before its last one", () => {
    hear(other, 1_000);
    hear(log, 60);
    pass(23 * hourMs, () => hear(other));
    hear(log, 60);
    pass(12 * hourMs, () => hear(other));
    expect(pulse.silent()).toMatchObject([{ logUrl: log, entries: 120 }]);
    hear(log, 40);
    pass(12 * hourMs + minuteMs, () => hear(other));
    expect(silent()).toEqual([log]);
    // A day and more behind the first 120, only 40 and 59 count.
    pass(2 * hourMs, () => hear(other));
    hear(log, 59);
    pass(20 * hourMs, () => hear(other));
    expect(silent()).toEqual([]);
  });

  test("is not missed while nothing speaks, nor by a feed that never had the log", () => {
    hear(log, 500);
    hear(other, 500);
    hear(third, 500, 1);
    pass(minuteMs);
    pass(30 * hourMs);
    expect(silent()).toEqual([]);
    pass(30 * hourMs, () => hear(third, 1, 1));
    expect(silent()).toEqual([]);
    // What brought the log before brings others for six hours in all.
    pass(12 * hourMs, () => {
      if ((nowMs / minuteMs) % 2 === 0) hear(other);
    });
    expect(silent()).toEqual([log]);
  });

  test("beats as long as any feed brings it", () => {
    hear(log, 500);
    hear(log, 500, 1);
    hear(other, 500);
    pass(10 * hourMs, () => {
      hear(other);
      hear(log, 1, 1);
    });
    expect(silent()).toEqual([]);
  });

  test("is not expected of a log that is let off", () => {
    letOff.add(log);
    fallSilent(500, 10 * hourMs);
    expect([silent(), pulse.takeChanges().fellSilent]).toEqual([[], []]);
    letOff.clear();
    pass(minuteMs);
    expect(silent()).toEqual([log]);
    letOff.add(log);
    pass(minuteMs);
    expect([silent(), pulse.takeChanges().spokeAgain]).toEqual([[], []]);
  });

  test("does not count time in which the process did not run", () => {
    hear(log, 500);
    hear(other, 500);
    pass(minuteMs);
    for (let i = 0; i < 24; i++) {
      nowMs += hourMs;
      hear(other);
      pulse.step(nowMs);
    }
    nowMs -= dayMs;
    for (let i = 0; i < 24; i++) pulse.step(nowMs);
    expect(silent()).toEqual([]);
    pass(6 * hourMs, () => hear(other));
    expect(silent()).toEqual([log]);
  });

  test("has a last entry for each log with a label, and one for the others", () => {
    hear(log);
    pass(10_000);
    hear(other);
    pass(10_000);
    const startedS = Date.UTC(2030, 6, 1) / 1000;
    expect(pulse.lastEntries()).toEqual([
      { log, epochSeconds: startedS + 10 },
      { log: other, epochSeconds: startedS + 20 },
    ]);
    expect(pulse.heardInADay(nowMs)).toBe(2);
    expect(pulse.heardInADay(nowMs + dayMs - 10_000)).toBe(1);
    for (let i = 0; i < 1_000; i++) hear(`invented${i}.example`);
    pass(10_000);
    expect(pulse.lastEntries().length).toBe(129);
    expect(pulse.lastEntries().at(-1)).toEqual({ log: "other", epochSeconds: startedS + 30 });
  });

  test("is not that of a log whose number another one got", () => {
    fallSilent(500, 7 * hourMs);
    for (let i = 0; i < maxLogs; i++) hear(`invented${i}.example`, i < 127 ? 1 : 1_000);
    expect(silent()).toEqual([log]);
    for (let i = 0; i < maxLogs; i++) logs.strengths[i] = i < 2 ? 0 : 500;
    logs.strengths[200] = 5_000;
    pass(minuteMs);
    expect(silent()).toEqual([]);
    expect(pulse.lastEntries().some((each) => each.log === log)).toBe(false);
  });
});

describe("a shard", () => {
  const day = (text: string) => Date.parse(`${text}T00:00:00Z`);
  test.each([
    ["ct.example/argon2026h1", "2026-06-09", false],
    ["ct.example/argon2026h1", "2026-06-10", true],
    ["ct.example/argon2026h1", "2026-12-01", true],
    ["ct.example/2026h2/", "2026-12-10", false],
    ["ct.example/2026h2b", "2026-12-11", true],
    ["nimbus2026.ct.example", "2026-12-10", false],
    ["nimbus2026.ct.example", "2026-12-11", true],
    ["CT.example/Tiger2027H1", "2027-06-10", true],
    ["2020.example/argon2027h2", "2026-12-31", false],
    ["ct.example/mammoth", "2026-12-31", false],
    ["ct.example/120261", "2027-12-31", false],
  ])("%s ends soon, or has ended, on %s: %s", (url, date, expected) => {
    expect(endsSoon(url, day(date))).toBe(expected);
  });
});
