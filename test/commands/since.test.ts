import { expect, test } from "vitest";
import { UsageError } from "../../src/commands/errors.ts";
import { parseSince } from "../../src/commands/since.ts";

const now = 1_800_000_000;

test.each([
  ["45s", now - 45],
  ["30m", now - 1_800],
  ["6h", now - 21_600],
  ["7d", now - 604_800],
  ["2w", now - 1_209_600],
  ["2026-01-31", 1_769_817_600],
  ["2026-01-31T12:00", 1_769_860_800],
  ["2026-01-31T12:00:00.5Z", 1_769_860_800.5],
  ["2026-01-31T12:00:00+02:00", 1_769_853_600],
])("--since %s", (text, epochSeconds) => {
  expect(parseSince(text, now)).toBe(epochSeconds);
});

test.each(["", "6", "h", "-6h", "6 h", "1e9d", "2026-13-01", "2026-01-31 12:00", "yesterday"])(
  "--since %j is refused",
  (text) => {
    expect(() => parseSince(text, now)).toThrow(UsageError);
  },
);
