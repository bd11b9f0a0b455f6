import { Webhook } from "standardwebhooks";
import { retryAfterSeconds } from "../retry-after.ts";
import { Connections } from "./connections.ts";

/** Where alerts are posted, and with which credentials. */
export interface WebhookTarget {
  /** Has no credentials in it: they are in `authorization`. */
  url: string;
  timeoutSeconds: number;
  /** Signs each body: `whsec_...` or plain base64. `null`: nothing is signed. */
  secret: string | null;
  /** The value of the `Authorization` header. `null`: no such header. */
  authorization: string | null;
}

/** How one attempt ended. */
export type SendResult =
  | { kind: "delivered" }
  /**
   * The receiver answered 429, or 503 with `Retry-After`: it asks for patience. `retryAfterSeconds` is the wait that it
   * names, a minute at most; `null` where it names none.
   */
  | { kind: "later"; error: string; retryAfterSeconds: number | null }
  | { kind: "failed"; error: string };

/** The longest wait that a receiver can ask for. */
const maxRetryAfterSeconds = 60;
/** An answer's body is read up to here, so that its connection can carry the next alert. A longer body closes the connection. */
const maxBodyBytes = 64 * 1024;
const maxBodyMs = 1_000;

/** Posts JSON to one receiver. */
export class WebhookSender {
  readonly #target: WebhookTarget;
  readonly #connections: Connections;
  readonly #signer: Webhook | null;
  readonly #userAgent: string;

  constructor(target: WebhookTarget, options: { version: string; connections: number }) {
    this.#target = target;
    this.#connections = new Connections({ ...options, timeoutSeconds: target.timeoutSeconds });
    this.#signer = target.secret === null ? null : new Webhook(target.secret);
    this.#userAgent = `certwatch/${options.version}`;
  }

  /**
   * Makes one attempt. Only 2xx is success; redirects are not followed. Never rejects. Ends within the configured
   * time-out, or when the sender is closed.
   *
   * @param webhookId is the same in all attempts of one alert (Standard Webhooks: `webhook-id`).
   */
  async send(payload: object, webhookId: string): Promise<SendResult> {
    const { url, timeoutSeconds } = this.#target;
    const body = JSON.stringify(payload);
    // AbortSignal.timeout cannot be cleared: it would fire, and make an error, long after the attempt has ended.
    const attempt = new AbortController();
    let cancelTimeout = abortIn(timeoutSeconds * 1000, attempt);
    try {
      const headers = this.#headers(webhookId, body);
      const response = await this.#connections.post(url, { headers, body, signal: attempt.signal });
      cancelTimeout();
      cancelTimeout = abortIn(maxBodyMs, attempt);
      // The status alone decides: a body that never ends or breaks off changes nothing.
      await response.body.dump({ limit: maxBodyBytes }).catch(() => {});
      return resultOf(response.statusCode, response.headers["retry-after"]);
    } catch (error) {
      const reason = attempt.signal.aborted ? `no answer within ${timeoutSeconds} s` : describe(error);
      return { kind: "failed", error: reason };
    } finally {
      cancelTimeout();
    }
  }

  /** Closes the connections. Attempts under way fail at once. Can be called again. */
  async close(): Promise<void> {
    await this.#connections.close();
  }

  #headers(webhookId: string, body: string): Record<string, string> {
    const headers: Record<string, string> = {
      "content-type": "application/json",
      "user-agent": this.#userAgent,
      "webhook-id": webhookId,
    };
    if (this.#target.authorization !== null) headers.authorization = this.#target.authorization;
    if (this.#signer !== null) {
      const now = new Date();
      headers["webhook-timestamp"] = String(Math.floor(now.getTime() / 1000));
      headers["webhook-signature"] = this.#signer.sign(webhookId, now, body);
    }
    return headers;
  }
}

/**
 * Aborts after `ms`, but not before the sockets were read once more. A timer that is late, since the process was stopped or
 * its loop blocked, fires before Node.js reads what has arrived meanwhile: the answer may be there.
 *
 * @returns what cancels it
 */
function abortIn(ms: number, controller: AbortController): () => void {
  let immediate: NodeJS.Immediate | undefined;
  const timer = setTimeout(() => {
    // The event loop runs immediates after it has read the sockets.
    immediate = setImmediate(() => controller.abort());
  }, Math.ceil(ms));
  return () => {
    clearTimeout(timer);
    clearImmediate(immediate);
  };
}

function resultOf(status: number, retryAfter: string | string[] | undefined): SendResult {
  if (status >= 200 && status < 300) return { kind: "delivered" };
  const error = `the receiver answered ${status}`;
  const waitSeconds = retryAfterSeconds(retryAfter, maxRetryAfterSeconds);
  const asksForPatience = status === 429 || (status === 503 && waitSeconds !== null);
  return asksForPatience
    ? { kind: "later", error, retryAfterSeconds: waitSeconds }
    : { kind: "failed", error };
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = "code" in error && typeof error.code === "string" ? `${error.code}: ` : "";
  // Where a host has several addresses and all refuse, the error is an AggregateError with an empty message.
  return `${code}${error.message || "the receiver cannot be reached"}`;
}
