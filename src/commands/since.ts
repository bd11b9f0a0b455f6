import { UsageError } from "./errors.ts";

const unitSeconds: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };

/**
 * Reads a time span before now (`30m`, `6h`, `7d`) or an ISO 8601 date or time (UTC if it names no zone).
 *
 * @returns epoch seconds.
 * @throws UsageError if the text is neither.
 */
export function parseSince(text: string, nowEpochSeconds = Date.now() / 1000): number {
  const [, amount, unit] = /^(\d{1,9})([smhdw])$/.exec(text) ?? [];
  if (amount !== undefined) return nowEpochSeconds - Number(amount) * unitSeconds[unit!]!;
  const iso = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?$/.exec(text);
  // ECMAScript reads a time without a zone as local time, but a date alone as UTC.
  const epochMs = iso === null ? Number.NaN : Date.parse(iso[1] && !iso[4] ? `${text}Z` : text);
  if (Number.isNaN(epochMs)) {
    throw new UsageError(
      `--since ${JSON.stringify(text)}: allowed is a time span (30m, 6h, 7d) or a date (2026-01-31, 2026-01-31T12:00:00Z)`,
    );
  }
  return epochMs / 1000;
}
