/** Matches a number of seconds. RFC 9110 allows whole numbers only; Discord and others also send decimals. */
const secondsForm = /^\d+(\.\d+)?$/;
/** Matches the start of a date: every form of a date begins with the day of the week (RFC 9110 section 5.6.7). */
const dateForm = /^[A-Z][a-z]{2}/;

/**
 * Reads a `Retry-After` header (RFC 9110 section 10.2.3), which is a number of seconds or a date. Returns the wait in
 * seconds, from 0 to `maxSeconds`; `null` if the header is missing or malformed. The longest of several headers counts.
 */
export function retryAfterSeconds(header: string | string[] | undefined, maxSeconds: number): number | null {
  const waits = [header ?? []].flat().flatMap((text) => secondsOf(text.trim()) ?? []);
  return waits.length === 0 ? null : Math.min(Math.max(...waits, 0), maxSeconds);
}

function secondsOf(text: string): number | null {
  if (secondsForm.test(text)) return Number(text);
  const seconds = dateForm.test(text) ? (Date.parse(text) - Date.now()) / 1000 : Number.NaN;
  return Number.isNaN(seconds) ? null : seconds;
}
