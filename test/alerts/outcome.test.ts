import { describe, expect, test } from "vitest";
import { outcomeOf } from "../../src/alerts/outcome.ts";

const claim = { id: 7, issuance_id: "ab", lease: "2026-01-01T00:00:00Z" };
const delivery = { id: 7, issuanceId: "ab", lease: claim.lease };
const refused = { ok: false as const, error: "the receiver answered 500", retryAfterSeconds: 0 };
const waitOf = (attempts: number, result = refused, maxAttempts = 1_000) =>
  outcomeOf({ ...delivery, attempts }, result, maxAttempts).retry_after_seconds;

describe("the outcome of an attempt", () => {
  test("a success is delivered", () => {
    const success = { ...claim, delivered: true, error: null, retry_after_seconds: null };
    expect(outcomeOf({ ...delivery, attempts: 2 }, { ok: true }, 3)).toEqual(success);
  });

  test("the wait grows fourfold, up to five minutes", () => {
    expect([0, 1, 2, 3, 4, 5, 6, 900].map((attempts) => waitOf(attempts))).toEqual([
      1, 4, 16, 64, 256, 300, 300, 300,
    ]);
  });

  test("what the receiver asked for makes it longer, never shorter", () => {
    expect(waitOf(0, { ...refused, retryAfterSeconds: 30 })).toBe(30);
    expect(waitOf(3, { ...refused, retryAfterSeconds: 30 })).toBe(64);
  });

  test("the last attempt gives up, and says why", () => {
    expect(waitOf(1, refused, 3)).toBe(4);
    const givenUp = { ...claim, delivered: false, error: refused.error, retry_after_seconds: null };
    expect(outcomeOf({ ...delivery, attempts: 2 }, refused, 3)).toEqual(givenUp);
  });
});
