import { expect, test } from "vitest";
import { retryAfterSeconds } from "../src/retry-after.ts";

test.each([
  ["0", 0],
  ["7", 7],
  ["59", 59],
  ["60", 60],
  ["61", 60],
  ["99999999999999999999", 60],
  ["0.5", 0.5],
  [" 7 ", 7],
  [["5", "6"], 6],
  [["5", "soon"], 5],
  ["Wed, 21 Oct 2015 07:28:00 GMT", 0],
  ["Sunday, 06-Nov-94 08:49:37 GMT", 0],
  ["Sun Nov  6 08:49:37 1994", 0],
  ["Fri, 31 Dec 9999 23:59:59 GMT", 60],
])("%j asks for %d s, of 60 at most", (header, seconds) => {
  expect(retryAfterSeconds(header, 60)).toBe(seconds);
});

test.each(["-5", "", "soon", "Soon", "NaN", "Infinity", "1e3", "2026-01-01", undefined, [], ["soon"]])(
  "%j asks for nothing",
  (header) => {
    expect(retryAfterSeconds(header as string | undefined, 60)).toBeNull();
  },
);

test("a date is as far away as it is", () => {
  const header = new Date(Date.now() + 100_000).toUTCString();
  const seconds = retryAfterSeconds(header, 300)!;
  expect(seconds).toBeLessThanOrEqual(100);
  expect(seconds).toBeGreaterThan(50);
});
