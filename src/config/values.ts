import { z } from "zod";
import { createConnector } from "../db/connect.ts";
import { parseDsn } from "../db/dsn.ts";

// The forms that the values of variables may have: zod schemas, and functions that return what is wrong with a text, or
// `null` if nothing is wrong.

/** The longest timer of Node.js. A timer that is set to more seconds fires at once. */
const maxTimerSeconds = 2_147_483;
/** The longest retention: a hundred years. It may be longer than a timer, because SQL subtracts it from the time. */
export const maxRetentionSeconds = 100 * 365 * 86_400;

/** A duration in seconds, decimals allowed. */
export function seconds(defaultSeconds: number, limits: { min?: number; max?: number } = {}) {
  const { min = 0, max = maxTimerSeconds } = limits;
  const allowed = `a number of seconds ${min > 0 ? `from ${min}` : "from 0"} to ${max}`;
  return number(defaultSeconds, /^(\d+\.?\d*|\.\d+)$/, { min, max, allowed });
}

/** A whole number from `min` to `max`. */
export function integer(defaultValue: number, min: number, max: number) {
  return number(defaultValue, /^\d+$/, { min, max, allowed: `a whole number from ${min} to ${max}` });
}

function number(fallback: number, form: RegExp, limits: { min: number; max: number; allowed: string }) {
  return z
    .string()
    .optional()
    .transform((text, context) => {
      if (text === undefined) return fallback;
      const value = form.test(text) ? Number(text) : Number.NaN;
      if (value >= limits.min && value <= limits.max) return value;
      context.addIssue({ code: "custom", message: `allowed is ${limits.allowed}` });
      return z.NEVER;
    });
}

/** Returns what is wrong with a URL that must begin with one of `schemes` (e.g. `ws://`); `null` if it is valid. */
export function url(schemes: string[], text: string): string | null {
  if (!URL.canParse(text)) return `not a URL: allowed is one that starts with ${schemes.join(" or ")}`;
  const { protocol, hash, username, password } = new URL(text);
  if (!schemes.includes(`${protocol}//`)) return `allowed is a URL that starts with ${schemes.join(" or ")}`;
  if (!canDecode(username) || !canDecode(password)) return "a % in user or password is to be written as %25";
  if (hash !== "") return "allowed is a URL without a fragment (#...)";
  return null;
}

function canDecode(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

/** A text for which `problemOf` returns `null`. */
export function checked(problemOf: (text: string) => string | null) {
  return z.string().superRefine((text, context) => {
    const problem = problemOf(text);
    if (problem !== null) context.addIssue({ code: "custom", message: problem });
  });
}

/** Base64 with all of its padding or without any. */
const base64Form = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?$/;

/** Returns what is wrong with one Standard Webhooks secret, or with a new and an old one; `null` if they are valid. */
export function secretsProblem(text: string): string | null {
  const secrets = text.split(/\s+/);
  if (secrets.length > 2)
    return "allowed are one secret, or two separated by a space: the new one and the old one";
  if (secrets.every(isSecret)) return null;
  return 'allowed is "whsec_" and the base64 of 24 to 64 random bytes (or two of these, separated by a space); make one with: echo "whsec_$(openssl rand -base64 32)"';
}

/** Whether the text is base64 of 24 to 64 bytes, with the prefix `whsec_` or without. */
function isSecret(text: string): boolean {
  const base64 = text.replace(/^whsec_/, "");
  const byteLength = base64Form.test(base64) ? Buffer.from(base64, "base64").length : 0;
  return byteLength >= 24 && byteLength <= 64;
}

/** Returns what is wrong with the value of an HTTP header; `null` if it is valid. */
export const oneLine = (text: string) =>
  /^[\x20-\x7e]+$/.test(text) ? null : "allowed is one line of printable ASCII";

/** Returns what is wrong with a Postgres connection string; `null` if it is valid. */
export function dsnProblem(text: string): string | null {
  try {
    // This also reads the certificate files that the DSN names: a missing file is a bad configuration.
    createConnector(parseDsn(text));
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
