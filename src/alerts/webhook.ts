import { Webhook } from "standardwebhooks";
import { type Answer, describeError, readAnswer, resultOf, type SendResult } from "./answer.ts";
import { Bodies, type Body } from "./bodies.ts";
import { Connections } from "./connections.ts";
import { EchoMask } from "./echo-mask.ts";
import type { Payload } from "./payload.ts";

/** The receiver of alerts, with credentials. */
export interface WebhookTarget {
  /** The receiver's URL, without credentials: these are in `authorization`. */
  url: string;
  timeoutSeconds: number;
  /**
   * The secrets that sign every body, each `whsec_...` or plain base64: one; two while a secret is being changed; or
   * none, then nothing is signed.
   */
  secrets: readonly string[];
  /** The value of the `Authorization` header; `null`: no such header is sent. */
  authorization: string | null;
}

/** How long we read the body of an answer. The status, which alone decides, is known by then. */
const maxBodyMs = 1_000;

/** Posts JSON to one receiver. */
export class WebhookSender {
  readonly #target: WebhookTarget;
  readonly #connections: Connections;
  readonly #mask: EchoMask;
  readonly #signers: readonly Webhook[];
  readonly #userAgent: string;
  readonly #bodies = new Bodies();

  constructor(target: WebhookTarget, options: { version: string; connections: number }) {
    this.#target = target;
    this.#connections = new Connections({ ...options, timeoutSeconds: target.timeoutSeconds });
    this.#signers = target.secrets.map((secret) => new Webhook(secret));
    this.#mask = new EchoMask({ url: target.url, tokens: tokensOf(target) });
    this.#userAgent = `certwatch/${options.version}`;
  }

  /**
   * Makes one attempt. Only 2xx is success; redirects are not followed. A receiver that answers 413 gets the alert
   * again at once, cut to a smaller size: this is still the same attempt. Never rejects. Ends within the configured
   * time-out, or when the sender is closed.
   *
   * @param webhookId the header `webhook-id` of Standard Webhooks, the same in all attempts of one alert.
   */
  async send(payload: Payload, webhookId: string): Promise<SendResult> {
    const { url, timeoutSeconds } = this.#target;
    const deadlineMs = performance.now() + timeoutSeconds * 1000;
    let result: SendResult = { kind: "failed", error: "" };
    for (const body of this.#bodies.of(payload)) {
      const reduced = body.size === "1M" ? {} : { reducedTo: body.size };
      // Not AbortSignal.timeout, which cannot be cleared: it would fire, and make an error, long after the attempt.
      const timeout = new AbortController();
      try {
        const answer = await this.#post(body, webhookId, deadlineMs, timeout);
        result = { ...resultOf(answer, url, this.#mask), ...reduced };
        if (answer.status !== 413) break;
        this.#bodies.refused(body);
      } catch (error) {
        const isLate = timeout.signal.aborted;
        const reason = isLate ? `no answer within ${timeoutSeconds} s` : describeError(error, this.#mask);
        return { kind: "failed", error: reason, ...reduced };
      }
    }
    return result;
  }

  /** Posts one body. Rejects when the time-out is over, or with the error of the connection. */
  async #post(
    { json }: Body,
    webhookId: string,
    deadlineMs: number,
    timeout: AbortController,
  ): Promise<Answer> {
    const headers = this.#headers(webhookId, json);
    let cancelTimeout = abortIn(deadlineMs - performance.now(), timeout);
    try {
      const options = { headers, body: json, signal: timeout.signal };
      const response = await this.#connections.post(this.#target.url, options);
      cancelTimeout();
      cancelTimeout = abortIn(maxBodyMs, timeout);
      return await readAnswer(response);
    } finally {
      cancelTimeout();
    }
  }

  /** Closes the connections. Attempts under way fail at once. Calling this twice is safe. */
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
    if (this.#signers.length > 0) {
      const now = new Date();
      headers["webhook-timestamp"] = String(Math.floor(now.getTime() / 1000));
      const signatures = this.#signers.map((signer) => signer.sign(webhookId, now, body));
      headers["webhook-signature"] = signatures.join(" ");
    }
    return headers;
  }
}

/** Returns the secrets of the configuration that do not stand in the URL. */
function tokensOf({ authorization, secrets }: WebhookTarget): string[] {
  // The scheme is no secret: the word "Bearer" stands in many errors.
  const credentials = authorization?.replace(/^[a-z]+ +/i, "") ?? "";
  const basic = /^basic /i.test(authorization ?? "") ? Buffer.from(credentials, "base64").toString() : "";
  const password = basic.slice(basic.indexOf(":") + 1);
  return [credentials, password, ...secrets.map((secret) => secret.replace(/^whsec_/, ""))];
}

/**
 * Aborts after `ms`, but not before Node.js has read the sockets once more. After a pause of the process, or of its
 * event loop, Node.js runs late timers before it reads the sockets, and the answer may be waiting there.
 *
 * @returns a function that cancels the abort
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
