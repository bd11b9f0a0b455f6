import type { Dispatcher } from "undici";
import { retryAfterSeconds } from "../retry-after.ts";
import { printable } from "../terminal.ts";
import type { EchoMask } from "./echo-mask.ts";

/** How one attempt ended. `reducedTo`: the size to which the alert was cut, since the receiver refused larger ones. */
export type SendResult = Ending & { reducedTo?: "64k" | "8k" };

type Ending =
  | { kind: "delivered" }
  /**
   * The receiver answered 429, or 503 with `Retry-After`: it asks for patience. `retryAfterSeconds` is the wait that
   * the answer names, a minute at most; `null` if it names none.
   */
  | { kind: "later"; error: string; retryAfterSeconds: number | null }
  /** The attempt failed. `error` says why, in one printable line without secrets. */
  | { kind: "failed"; error: string };

type Headers = Dispatcher.ResponseData["headers"];

/** The parts of an HTTP answer that certwatch uses. */
export interface Answer {
  status: number;
  headers: Headers;
  /** The beginning of the answer's body. */
  start: Buffer;
}

/** The longest wait that a receiver can ask for. */
const maxRetryAfterSeconds = 60;
/** The longest body that is read to its end, so that the connection can be used again. A longer body closes it. */
const maxBodyBytes = 64 * 1024;
/** How much of a body is kept: more than is quoted, because masking makes the text shorter. */
const maxKeptBytes = 4 * 1024;
/** The longest quotation of an answer in `last_error`. */
const maxQuotedCharacters = 200;

/** Reads an answer to its end, or as much of it as arrives: an incomplete body never changes the outcome. */
export async function readAnswer({ statusCode, headers, body }: Dispatcher.ResponseData): Promise<Answer> {
  const kept: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      if (bytes < maxKeptBytes) kept.push(chunk);
      bytes += chunk.length;
      if (bytes > maxBodyBytes) break;
    }
  } catch {
    // The body broke off, or took too long.
  }
  return { status: statusCode, headers, start: Buffer.concat(kept).subarray(0, maxKeptBytes) };
}

/** Returns the result of an attempt that was answered: only 2xx is success. */
export function resultOf(answer: Answer, url: string, mask: EchoMask): Ending {
  const { status, headers } = answer;
  if (status >= 200 && status < 300) return { kind: "delivered" };
  const error = describeRefusal(answer, url, mask);
  const waitSeconds = retryAfterSeconds(headers["retry-after"], maxRetryAfterSeconds);
  const asksForPatience = status === 429 || (status === 503 && waitSeconds !== null);
  return asksForPatience
    ? { kind: "later", error, retryAfterSeconds: waitSeconds }
    : { kind: "failed", error };
}

/** Returns e.g. `the receiver answered 302, redirecting to https://example.org: Moved`. */
function describeRefusal({ status, headers, start }: Answer, url: string, mask: EchoMask): string {
  const origin = status >= 300 && status < 400 ? originOf(headers.location, url) : null;
  const quotation = isCompressed(headers) ? "" : quoted(mask.mask(start));
  return [
    `the receiver answered ${status}`,
    origin === null ? "" : `, redirecting to ${quoted(mask.mask(origin))}`,
    quotation === "" ? "" : `: ${quotation}`,
  ].join("");
}

/** Returns why no answer came, in one printable line without secrets. */
export function describeError(error: unknown, mask: EchoMask): string {
  if (!(error instanceof Error)) return printable(mask.mask(String(error)));
  const code = "code" in error && typeof error.code === "string" ? `${error.code}: ` : "";
  // If a host has several addresses and all refuse, the error is an AggregateError with an empty message.
  return printable(mask.mask(`${code}${error.message || "the receiver cannot be reached"}`));
}

/** Returns the scheme, host and port of a redirect. The rest may repeat secrets of the request. */
function originOf(location: string | string[] | undefined, url: string): string | null {
  if (typeof location !== "string" || !URL.canParse(location, url)) return null;
  const { origin, protocol } = new URL(location, url);
  return origin === "null" ? protocol : origin;
}

const isCompressed = (headers: Headers) => (headers["content-encoding"] ?? "identity") !== "identity";

/** Returns the text as one printable line, 200 characters long at most. */
function quoted(text: string): string {
  const line = text.replaceAll(/\s+/g, " ").trim();
  let quotation = "";
  for (const character of line) {
    const shown = printable(character);
    if (quotation.length + shown.length > maxQuotedCharacters) return `${quotation}…`;
    quotation += shown;
  }
  return quotation;
}
