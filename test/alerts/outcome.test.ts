import { describe, expect, test } from "vitest";
import { outcomeOf } from "../../src/alerts/outcome.ts";

const claim = { id: 7, issuance_id: "ab", lease: "2026-01-01T00:00:00Z", postponed: false };
const delivery = { id: 7, issuanceId: "ab", lease: claim.lease, postponedSeconds: null };
const refused = { kind: "failed" as const, error: "the receiver answered 500" };
const later = { kind: "later" as const, error: "the receiver answered 429", retryAfterSeconds: 30 };
const waitOf = (attempts: number, result = refused, maxAttempts = 1_000) =>
  outcomeOf({ ...delivery, attempts }, result, maxAttempts).retry_after_seconds;

describe("the outcome of an attempt", () => {
  test("a success is delivered", () => {
    const success = { ...claim, delivered: true, error: null, retry_after_seconds: null };
    expect(outcomeOf({ ...delivery, attempts: 2 }, { kind: "delivered" }, 3)).toEqual(success);
  });

  test("the wait grows fourfold, up to five minutes", () => {
    expect([0, 1, 2, 3, 4, 5, 6, 900].map((attempts) => waitOf(attempts))).toEqual([
      1, 4, 16, 64, 256, 300, 300, 300,
    ]);
  });

  test("'later' is no attempt, however often: the event is due again until a day has passed", () => {
    const postponed = { ...claim, delivered: false, error: later.error, postponed: true };
    const outcome = (postponedSeconds: number | null, attempts = 0) =>
      outcomeOf({ ...delivery, attempts, postponedSeconds }, later, 1);
    expect(outcome(null)).toEqual({ ...postponed, retry_after_seconds: 0 });
    expect(outcome(86_399.9, 5)).toEqual({ ...postponed, retry_after_seconds: 0 });
    expect(outcome(86_400)).toEqual({ ...postponed, retry_after_seconds: null });
  });

  test("the last attempt gives up, and says why", () => {
    expect(waitOf(1, refused, 3)).toBe(4);
    const givenUp = { ...claim, delivered: false, error: refused.error, retry_after_seconds: null };
    expect(outcomeOf({ ...delivery, attempts: 2 }, refused, 3)).toEqual(givenUp);
  });
});
