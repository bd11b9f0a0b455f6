import { describe, expect, it } from "vitest";
import { CtLogs, maxLabels, maxLogs, noLog } from "../../src/feed/ct-logs.ts";
import { GapAccounting } from "../../src/feed/gaps.ts";

const settleMs = 120_000;

describe("logs", () => {
  it("have one number in every spelling", () => {
    const logs = new CtLogs();
    const number = logs.numberOf("https://ct.example/log/");
    for (const url of [
      "ct.example/log",
      "http://ct.example/log",
      "ct.example/log/",
      "HTTPS://ct.example/log",
    ]) {
      expect(logs.numberOf(url)).toBe(number);
    }
    expect(logs.urlOf(number)).toBe("ct.example/log");
    expect(logs.numberOf("https://ct.example/log2")).not.toBe(number);
  });

  it("have none where the URL is empty or too long", () => {
    const logs = new CtLogs();
    for (const url of ["", "/", "https://", `a/${"x".repeat(255)}`]) expect(logs.numberOf(url)).toBe(noLog);
    expect(logs.numberOf(`a/${"x".repeat(254)}`)).toBe(0);
  });

  it("are at most 256, of which 128 have a label of their own", () => {
    const logs = new CtLogs();
    const gaps = new GapAccounting(logs, 0, { settleMs });
    for (let i = 0; i < 256; i++) {
      expect(logs.numberOf(`log${i}.example`)).toBe(i);
      gaps.observe(i, 1);
      gaps.observe(i, 3);
      expect(gaps.lostEntries().length).toBe(Math.min(i + 1, 129));
    }
    expect(logs.numberOf("log255.example/")).toBe(255);
    gaps.settle(settleMs);
    const counts = gaps.lostEntries();
    expect(counts[127]).toEqual({ log: "log127.example", count: 1 });
    expect(counts[128]).toEqual({ log: "other", count: 128 });
  });

  it("keep their numbers under a flood of spellings", () => {
    const logs = new CtLogs();
    for (let i = 0; i < 5_000; i++) expect(logs.numberOf(`a.example${"/".repeat(i % 200)}`)).toBe(0);
  });

  /** Gives a number to the log, as if so many of its messages were heard. */
  function hear(logs: CtLogs, url: string, times = 1): number {
    const log = logs.numberOf(url);
    logs.strengths[log]! += times;
    return log;
  }

  it("that are invented take the number of no log with a label, and none for good", () => {
    const logs = new CtLogs();
    hear(logs, "first.example", 1_000);
    for (let i = 1; i < maxLabels; i++) hear(logs, `early${i}.example`, 2);
    for (let i = 0; i < 10_000; i++) hear(logs, `invented${i}.example`);
    const log = hear(logs, "late.example", 2);
    expect(log).toBeGreaterThanOrEqual(maxLabels);
    for (let i = 0; i < 10_000; i++) hear(logs, `again${i}.example`);
    expect(logs.size).toBe(maxLogs);
    expect(logs.urlOf(log)).toBe("late.example");
    expect([logs.numberOf("https://first.example"), logs.numberOf("early127.example")]).toEqual([0, 127]);
  });

  it.each([
    ["99 times", 99, 1, false],
    ["100 times", 100, 1, true],
    ["100 times, and another more than half as often", 100, 51, false],
    ["100 times, and another half as often", 100, 50, true],
  ])("that are heard %s get a label from a log that is heard little", (_, times, others, gets) => {
    const logs = new CtLogs();
    for (let i = 0; i < maxLabels; i++) hear(logs, `early${i}.example`, i === 5 ? others : 1_000);
    const replaced: number[] = [];
    logs.onReplaced((log) => replaced.push(log));
    const { generation } = logs;
    hear(logs, "late.example", times);
    logs.promote();
    expect(logs.numberOf("https://late.example/")).toBe(gets ? 5 : maxLabels);
    expect(logs.numberOf("early5.example")).toBe(gets ? maxLabels : 5);
    expect(replaced).toEqual(gets ? [5, maxLabels] : []);
    expect(logs.generation !== generation).toBe(gets);
  });

  it("give away at most ten labels at once, and what was heard long ago counts less", () => {
    const logs = new CtLogs();
    for (let i = 0; i < maxLabels; i++) hear(logs, `early${i}.example`, 10_000);
    for (let i = 0; i < 20; i++) hear(logs, `late${i}.example`, 100);
    const labelled = () =>
      Array.from({ length: 20 }, (_, i) => logs.numberOf(`late${i}.example`)).filter(
        (log) => log < maxLabels,
      );
    logs.promote();
    expect(labelled().length).toBe(0);
    for (let hour = 0; hour < 10; hour++) logs.fade();
    for (let i = 0; i < 20; i++) hear(logs, `late${i}.example`, 100);
    logs.promote();
    expect(labelled().length).toBe(10);
    logs.promote();
    expect(labelled().length).toBe(20);
  });

  it("start anew in gap accounting when their number was another log's", () => {
    const logs = new CtLogs();
    const gaps = new GapAccounting(logs, 0, { settleMs });
    const observe = (url: string, ...indices: number[]) => {
      for (const index of indices) gaps.observe(hear(logs, url, 100), index);
    };
    for (let i = 0; i < maxLabels; i++) gaps.observe(logs.numberOf(`early${i}.example`), 1);
    observe("late.example", 1_000, 1_010);
    logs.promote();
    observe("late.example", 2_000, 2_002);
    gaps.settle(settleMs);
    expect(gaps.takeClosedGaps().gaps).toEqual([{ logUrl: "late.example", first: 2_001, last: 2_001 }]);
    expect(gaps.lostEntries().find(({ log }) => log === "late.example")?.count).toBe(1);
  });
});
