import { Webhook } from "standardwebhooks";
import { Agent, request } from "undici";
import { retryAfterSeconds } from "../retry-after.ts";

/** Where alerts are posted, and how. */
export interface WebhookTarget {
  /** Without credentials: they are in `authorization`. */
  url: string;
  timeoutSeconds: number;
  /** `whsec_...` or plain base64. */
  secret: string | null;
  /** The `Authorization` header. */
  authorization: string | null;
}

/** The outcome of one attempt. `retryAfterSeconds`: what the receiver asked for, already bounded. */
export type SendResult = { ok: true } | { ok: false; error: string; retryAfterSeconds: number };

/** A receiver that asks for more is asked again after a minute all the same. */
const maxRetryAfterSeconds = 60;
/** How much of an answer's body is read, to keep the connection for the next alert; past it the connection is closed. */
const maxBodyBytes = 64 * 1024;
const maxBodyMs = 1_000;

/** Posts JSON to one receiver. */
export class WebhookSender {
  readonly #target: WebhookTarget;
  readonly #agent: Agent;
  readonly #signer: Webhook | null;
  readonly #userAgent: string;

  constructor(target: WebhookTarget, options: { version: string; connections: number }) {
    this.#target = target;
    this.#agent = new Agent({
      connections: options.connections,
      connect: { timeout: target.timeoutSeconds * 1000 },
      // The attempt's own timeout covers all of it, and may be longer than what undici would wait.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
    this.#signer = target.secret === null ? null : new Webhook(target.secret);
    this.#userAgent = `certwatch/${options.version}`;
  }

  /**
   * One attempt. Only 2xx is success; redirects are not followed. Never rejects, and ends within the configured
   * timeout or when the sender is closed.
   *
   * @param webhookId stable across all attempts of one alert (Standard Webhooks: `webhook-id`).
   */
  async send(payload: object, webhookId: string): Promise<SendResult> {
    const { url, timeoutSeconds } = this.#target;
    const body = JSON.stringify(payload);
    // Not AbortSignal.timeout: that one goes off, and makes an error, also when the attempt is long over.
    const attempt = new AbortController();
    const abort = () => attempt.abort();
    let timer = setTimeout(abort, Math.ceil(timeoutSeconds * 1000));
    try {
      const response = await request(url, {
        method: "POST",
        headers: this.#headers(webhookId, body),
        body,
        dispatcher: this.#agent,
        signal: attempt.signal,
      });
      clearTimeout(timer);
      timer = setTimeout(abort, maxBodyMs);
      // The status is the outcome: a body that never ends or breaks off does not change it.
      await response.body.dump({ limit: maxBodyBytes }).catch(() => {});
      if (response.statusCode >= 200 && response.statusCode < 300) return { ok: true };
      const asksToWait = response.statusCode === 429 || response.statusCode === 503;
      return {
        ok: false,
        error: `the receiver answered ${response.statusCode}`,
        retryAfterSeconds: asksToWait
          ? retryAfterSeconds(response.headers["retry-after"], maxRetryAfterSeconds)
          : 0,
      };
    } catch (error) {
      const reason = attempt.signal.aborted ? `no answer within ${timeoutSeconds} s` : describe(error);
      return { ok: false, error: reason, retryAfterSeconds: 0 };
    } finally {
      clearTimeout(timer);
    }
  }

  /** Closes the connections; attempts under way fail at once. Can be called again. */
  async close(): Promise<void> {
    await this.#agent.destroy();
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

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = "code" in error && typeof error.code === "string" ? `${error.code}: ` : "";
  // A refused connection to a host with several addresses is an AggregateError without a message.
  return `${code}${error.message || "the receiver cannot be reached"}`;
}
