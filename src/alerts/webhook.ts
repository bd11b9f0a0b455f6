import { Webhook } from "standardwebhooks";
import { describeError, readAnswer, resultOf, type SendResult } from "./answer.ts";
import { Connections } from "./connections.ts";
import { EchoMask } from "./echo-mask.ts";

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

/** How long the body of an answer is read. Its status is known by then, and decides alone. */
const maxBodyMs = 1_000;

/** Posts JSON to one receiver. */
export class WebhookSender {
  readonly #target: WebhookTarget;
  readonly #connections: Connections;
  readonly #mask: EchoMask;
  readonly #signer: Webhook | null;
  readonly #userAgent: string;

  constructor(target: WebhookTarget, options: { version: string; connections: number }) {
    this.#target = target;
    this.#connections = new Connections({ ...options, timeoutSeconds: target.timeoutSeconds });
    this.#signer = target.secret === null ? null : new Webhook(target.secret);
    this.#mask = new EchoMask({ url: target.url, tokens: tokensOf(target) });
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
      return resultOf(await readAnswer(response), url, this.#mask);
    } catch (error) {
      const isLate = attempt.signal.aborted;
      const reason = isLate ? `no answer within ${timeoutSeconds} s` : describeError(error, this.#mask);
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

/** What of the configuration, apart from the URL, must not be shown. */
function tokensOf({ authorization, secret }: WebhookTarget): string[] {
  // The scheme is no secret: "Bearer" stands in many an error.
  const credentials = authorization?.replace(/^[a-z]+ +/i, "") ?? "";
  const basic = /^basic /i.test(authorization ?? "") ? Buffer.from(credentials, "base64").toString() : "";
  const password = basic.slice(basic.indexOf(":") + 1);
  return [credentials, password, secret?.replace(/^whsec_/, "") ?? ""];
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
