import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Patience } from "../../src/alerts/patience.ts";

const later = (retryAfterSeconds: number | null) => ({
  kind: "later" as const,
  error: "",
  retryAfterSeconds,
});
const delivered = { kind: "delivered" as const };

describe("Patience", () => {
  let patience: Patience;
  beforeEach(() => {
    vi.useFakeTimers();
    patience = new Patience();
    pass(1_000);
  });
  afterEach(() => void vi.useRealTimers());

  const pass = (ms: number) => vi.advanceTimersByTime(ms);
  /** An attempt that begins and ends now. */
  const hear = (result: Parameters<Patience["heard"]>[0], begunAgoMs = 0) =>
    patience.heard(result, performance.now() - begunAgoMs);
  /** Refused, then tried again as soon as that is allowed: the waits, in seconds. */
  const waitsOf = (refusals: number) =>
    Array.from({ length: refusals }, () => {
      hear(later(null));
      const { waitMs } = patience;
      pass(waitMs);
      return waitMs / 1000;
    });

  test("until the receiver asks, everything may begin at once", () => {
    hear(delivered);
    hear({ kind: "failed", error: "" });
    expect([patience.isAsked, patience.waitMs, patience.allows(true)]).toEqual([false, 0, true]);
  });

  test("nothing begins before the wait is over that the receiver named, and never longer than a minute", () => {
    hear(later(7));
    expect([patience.waitMs, patience.allows(false)]).toEqual([7_000, false]);
    pass(6_999);
    expect(patience.allows(false)).toBe(false);
    pass(1);
    expect(patience.allows(false)).toBe(true);
    hear(later(86_400));
    expect(patience.waitMs).toBe(60_000);
  });

  test("then one at a time, a second apart, until a minute has passed without another", () => {
    hear(later(0));
    expect(patience.waitMs).toBe(1_000);
    pass(1_000);
    expect([patience.allows(false), patience.allows(true)]).toEqual([true, false]);
    hear(delivered);
    expect([patience.waitMs, patience.allows(false)]).toEqual([1_000, false]);
    pass(58_000);
    expect(patience.isAsked).toBe(true);
    hear(later(2));
    pass(61_999);
    expect(patience.isAsked).toBe(true);
    pass(1);
    expect([patience.isAsked, patience.allows(true)]).toEqual([false, true]);
  });

  test("where no wait is named it is a second, and doubles up to a minute", () => {
    expect(waitsOf(9)).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60]);
  });

  test("an alert that was taken ends the doubling", () => {
    expect(waitsOf(3)).toEqual([1, 2, 4]);
    hear(delivered);
    pass(1_000);
    expect(waitsOf(2)).toEqual([1, 2]);
  });

  test("many refusals of attempts that began together double nothing, and a success among them halves nothing", () => {
    hear(later(null), 10);
    pass(5);
    for (let i = 0; i < 30; i += 1) hear(later(null), 15);
    expect(patience.waitMs).toBe(1_000);
    pass(1_000);
    expect(waitsOf(1)).toEqual([2]);
    hear(delivered, 60_000);
    pass(1_000);
    expect(waitsOf(1)).toEqual([4]);
  });

  test("of several waits the longest counts", () => {
    hear(later(30));
    hear(later(2), 5);
    hear(later(null), 5);
    expect(patience.waitMs).toBe(30_000);
  });

  test("what was asked of another process is recalled as the pace, not as a wait", () => {
    patience.recall();
    expect([patience.isAsked, patience.allows(false), patience.allows(true)]).toEqual([true, true, false]);
    pass(59_999);
    patience.recall();
    pass(1);
    expect(patience.isAsked).toBe(false);
  });

  test("a process that had an answer in the last minute knows better than an old request", () => {
    hear(delivered);
    pass(59_999);
    patience.recall();
    expect(patience.isAsked).toBe(false);
    pass(1);
    patience.recall();
    expect(patience.isAsked).toBe(true);
  });

  test("recalled again and again, the pace ends a minute after it began all the same", () => {
    hear(later(0));
    pass(1_000);
    for (let second = 0; second < 59; second += 1) {
      patience.recall();
      hear(delivered);
      pass(1_000);
    }
    pass(1_000);
    patience.recall();
    expect(patience.isAsked).toBe(false);
  });
});
