import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CtLogs } from "../../src/feed/ct-logs.ts";
import { GapAccounting } from "../../src/feed/gaps.ts";

const settleMs = 120_000;
const urls = ["https://a.example/2026", "https://b.example/2026/", "c.example/2026"];

/** Accounts for these logs, numbered as in `urls`. */
function accounting(options: { maxOpenRanges?: number } = {}) {
  const logs = new CtLogs();
  for (const url of urls) logs.numberOf(url);
  const gaps = new GapAccounting(logs, 0, { settleMs, ...options });
  return {
    gaps,
    observe: (...indices: number[]) => {
      for (const index of indices) gaps.observe(0, index);
    },
    lost: () => gaps.lostEntries().reduce((sum, { count }) => sum + count, 0),
    /** The indices of log 0 that were closed as lost since the last call. */
    closed: () => gaps.takeClosedGaps().gaps.map(({ first, last }) => [first, last]),
  };
}

/** The same with a set of single indices for each log. */
class NaiveAccounting {
  readonly highest: (number | undefined)[] = [];
  readonly missing: Map<number, number>[] = urls.map(() => new Map());
  readonly lost: Set<number>[] = urls.map(() => new Set());
  nowMs = 0;

  observe(log: number, index: number): void {
    const highest = this.highest[log];
    for (let each = (highest ?? index) + 1; each < index; each++) this.missing[log]!.set(each, this.nowMs);
    this.missing[log]!.delete(index);
    this.highest[log] = Math.max(highest ?? index, index);
  }

  settle(nowMs: number): void {
    this.nowMs = nowMs;
    for (const log of urls.keys()) {
      for (const [index, openedMs] of this.missing[log]!) {
        if (nowMs - openedMs < settleMs) continue;
        this.missing[log]!.delete(index);
        this.lost[log]!.add(index);
      }
    }
  }
}

const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);

describe("gap accounting", () => {
  it("counts what was skipped, once it has settled and not before", () => {
    const { gaps, observe, lost, closed } = accounting();
    gaps.settle(500);
    observe(100, 101, 105, 106);
    gaps.settle(500 + settleMs - 1);
    expect(lost()).toBe(0);
    gaps.settle(500 + settleMs);
    expect(lost()).toBe(3);
    expect(closed()).toEqual([[102, 104]]);
    gaps.settle(10 * settleMs);
    observe(103);
    expect(lost()).toBe(3);
    expect(closed()).toEqual([]);
  });

  it("counts nothing before the first index, nothing twice, nothing late", () => {
    const { gaps, observe, lost } = accounting();
    observe(100, 99, 1, 104, 102, 102, 103, 101, 101, 104, 105);
    gaps.settle(settleMs);
    expect(lost()).toBe(0);
  });

  it("counts a server's downtime, and not its starting again from before", () => {
    const { gaps, observe, lost, closed } = accounting();
    observe(...range(1, 50), ...range(1_000_000, 1_000_050));
    observe(...range(999_900, 1_000_060), ...range(20, 60));
    gaps.settle(settleMs);
    expect(closed()).toEqual([[61, 999_899]]);
    expect(lost()).toBe(999_839);
  });

  it("keeps logs apart, and names them", () => {
    const { gaps } = accounting();
    gaps.observe(0, 1);
    gaps.observe(1, 1);
    gaps.observe(1, 3);
    gaps.observe(0, 4);
    gaps.settle(settleMs);
    expect(gaps.takeClosedGaps()).toEqual({
      gaps: [
        { logUrl: "a.example/2026", first: 2, last: 3 },
        { logUrl: "b.example/2026", first: 2, last: 2 },
      ],
      untold: 0,
    });
    expect(gaps.lostEntries()).toEqual([
      { log: "a.example/2026", count: 2 },
      { log: "b.example/2026", count: 1 },
    ]);
  });

  it("starts a log's count at 0 with its first message", () => {
    const { gaps, observe } = accounting();
    expect(gaps.lostEntries()).toEqual([]);
    observe(7);
    expect(gaps.lostEntries()).toEqual([{ log: "a.example/2026", count: 0 }]);
  });

  it("agrees with a set of single indices, whatever comes when", () => {
    const step = fc.record({ log: fc.nat(urls.length - 1), by: fc.integer({ min: -30, max: 12 }) });
    const wait = fc.record({ ms: fc.integer({ min: 0, max: 70_000 }) });
    const next = fc.record({ log: fc.nat(urls.length - 1), by: fc.constant(1) });
    let lostEver = 0;
    const property = fc.property(
      fc.array(fc.oneof({ weight: 4, arbitrary: step }, { weight: 4, arbitrary: next }, wait), {
        maxLength: 120,
      }),
      (events) => {
        const { gaps } = accounting();
        const naive = new NaiveAccounting();
        const told = urls.map(() => new Set<number>());
        for (const event of [...events, { ms: 0 }, { ms: settleMs }]) {
          if ("ms" in event) {
            gaps.settle(naive.nowMs + event.ms);
            naive.settle(naive.nowMs + event.ms);
          } else {
            const index = (naive.highest[event.log] ?? 1_000) + event.by;
            gaps.observe(event.log, index);
            naive.observe(event.log, index);
          }
          for (const { logUrl, first, last } of gaps.takeClosedGaps().gaps) {
            for (const index of range(first, last)) {
              const indices = told["abc".indexOf(logUrl[0]!)]!;
              expect(indices.has(index)).toBe(false);
              indices.add(index);
            }
          }
          expect(told).toEqual(naive.lost);
        }
        const counts = Object.fromEntries(gaps.lostEntries().map(({ log, count }) => [log[0], count]));
        for (const [log, lost] of naive.lost.entries()) expect(counts["abc"[log]!] ?? 0).toBe(lost.size);
        lostEver += naive.lost.reduce((sum, lost) => sum + lost.size, 0);
      },
    );
    fc.assert(property, { numRuns: 1_000 });
    expect(lostEver).toBeGreaterThan(1_000);
  });

  it("counts over several feeds exactly what none of them brought", () => {
    const feed = fc.record({
      dropped: fc.uniqueArray(fc.integer({ min: 1, max: 119 }), { maxLength: 60 }),
      batch: fc.integer({ min: 1, max: 20 }),
      lag: fc.nat(30),
      restartAt: fc.option(fc.integer({ min: 10, max: 100 })),
    });
    const property = fc.property(fc.array(feed, { minLength: 1, maxLength: 3 }), fc.nat(), (feeds, seed) => {
      const { gaps, observe, closed } = accounting();
      const deliveries = feeds.flatMap(({ dropped, batch, lag, restartAt }) => {
        const kept = range(0, 120).filter((index) => !dropped.includes(index));
        // A server that starts again sends some once more; and the entries of a batch come in any order.
        const sent = restartAt === null ? kept : [...kept.slice(0, restartAt), ...kept.slice(restartAt - 9)];
        return sent.map((index, i) => ({
          index,
          time: Math.floor(i / batch) * batch + lag + ((index * 7919 + seed) % batch) / batch,
        }));
      });
      deliveries.sort((a, b) => a.time - b.time);
      observe(...deliveries.map(({ index }) => index));
      gaps.settle(settleMs);
      const first = deliveries[0]!.index;
      const last = Math.max(...deliveries.map(({ index }) => index));
      const brought = new Set(deliveries.map(({ index }) => index));
      const never = range(first, last).filter((index) => !brought.has(index));
      expect(closed().flatMap(([from, to]) => range(from!, to!))).toEqual(never);
    });
    fc.assert(property, { numRuns: 1_000 });
  });
});

describe("gap accounting of hostile or broken indices", () => {
  it("does not believe a step too far, unless a hundred messages in a row do", () => {
    const { gaps, observe, lost } = accounting();
    observe(5, 1_000_000_006, 6, Number.MAX_SAFE_INTEGER, 7);
    gaps.settle(settleMs);
    expect(lost()).toBe(0);
    observe(...range(2e12, 2e12 + 98), 8, ...range(3e12, 3e12 + 98), 10);
    gaps.settle(2 * settleMs);
    expect(lost()).toBe(1);
    observe(...range(5e12, 5e12 + 98), 10, ...range(5e12, 5e12 + 98), 10);
    observe(...range(4e12, 4e12 + 99), 4e12 + 102, 11);
    gaps.settle(3 * settleMs);
    expect(lost()).toBe(3);
    observe(...range(20, 119), 122);
    gaps.settle(4 * settleMs);
    expect(lost()).toBe(5);
  });

  it("believes the longest step that it may", () => {
    const { gaps, observe, lost } = accounting();
    observe(5, 1_000_000_005);
    gaps.settle(settleMs);
    expect(lost()).toBe(999_999_999);
  });

  it("gives up the ranges that it waits for where a log starts anew", () => {
    const { observe, lost } = accounting();
    observe(1, 3, ...range(2e12, 2e12 + 99));
    expect(lost()).toBe(1);
  });

  it("holds so many open ranges, and counts the oldest as lost beyond", () => {
    for (const [ranges, expected] of [
      [9, 0],
      [10, 0],
      [11, 1],
    ] as const) {
      const { observe, lost, closed } = accounting({ maxOpenRanges: 10 });
      observe(...Array.from({ length: ranges + 1 }, (_, i) => 2 * i));
      expect(lost()).toBe(expected);
      expect(closed()).toEqual(expected === 0 ? [] : [[1, 1]]);
    }
  });

  it("holds no more where a range is taken to pieces", () => {
    const { gaps, observe, lost } = accounting({ maxOpenRanges: 10 });
    observe(0, 1_000, ...Array.from({ length: 9 }, (_, i) => 100 * (i + 1)));
    expect(lost()).toBe(0);
    gaps.observeWithoutGaps(0, 50);
    expect(lost()).toBe(49);
    observe(950);
    expect(lost()).toBe(98);
  });

  it("has a bound of its own", () => {
    const { gaps, observe, lost } = accounting();
    observe(...Array.from({ length: 100_001 }, (_, i) => 2 * i));
    expect(lost()).toBe(100_000 - 1024);
    gaps.settle(settleMs);
    expect(lost()).toBe(100_000);
    const { gaps: told, untold } = gaps.takeClosedGaps();
    expect([told.length, untold]).toEqual([256, 100_000 - 256]);
    expect(gaps.takeClosedGaps()).toEqual({ gaps: [], untold: 0 });
  });

  it("never counts less than before, and no more than was skipped", () => {
    const index = fc.oneof(fc.maxSafeNat(), fc.nat(300), fc.nat(3_000_000_000));
    const property = fc.property(fc.array(index, { maxLength: 300 }), (indices) => {
      const { gaps, observe, lost } = accounting({ maxOpenRanges: 3 });
      let before = 0;
      for (const [i, each] of indices.entries()) {
        observe(each);
        if (i % 50 === 49) gaps.settle(i * 10_000);
        expect(lost()).toBeGreaterThanOrEqual(before);
        expect(lost() - before).toBeLessThanOrEqual(4_000_000_000);
        before = lost();
      }
    });
    fc.assert(property, { numRuns: 300 });
  });
});

describe("gap accounting of a feed whose missing indices mean nothing", () => {
  it("counts nothing of its own, and takes what it brings", () => {
    const { gaps, observe, lost } = accounting();
    for (const index of [1, 5, 9]) gaps.observeWithoutGaps(0, index);
    observe(10, 14);
    for (const index of [11, 13, 20, 30]) gaps.observeWithoutGaps(0, index);
    gaps.settle(settleMs);
    expect(lost()).toBe(1);
    expect(gaps.takeClosedGaps().gaps).toEqual([{ logUrl: "a.example/2026", first: 12, last: 12 }]);
  });

  it("forgets what is open, and counts on", () => {
    const { gaps, observe, lost, closed } = accounting();
    observe(1, 5, 9);
    gaps.forgetOpenRanges();
    observe(6, 11);
    gaps.settle(settleMs);
    expect([lost(), closed()]).toEqual([1, [[10, 10]]]);
  });
});
