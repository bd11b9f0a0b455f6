/**
 * Reads a `Retry-After` header: the wait in seconds, from 0 to `maxSeconds`; 0 where the header is missing or malformed.
 * The header is a number of seconds or a date (RFC 9110 section 10.2.3).
 */
export function retryAfterSeconds(header: string | string[] | undefined, maxSeconds: number): number {
  if (typeof header !== "string") return 0;
  const seconds = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? 0 : Math.min(Math.max(seconds, 0), maxSeconds);
}
