import type { TcpNetConnectOpts } from "node:net";
import WebSocket from "ws";
import { type Logger, RateLimitedLog } from "../log.ts";
import { interruptibleSleep } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import { retryAfterSeconds } from "../retry-after.ts";
import { FrameReader } from "./frame-reader.ts";

const defaultPingIntervalMs = 20_000;
const handshakeTimeoutMs = 10_000;
const firstBackoffMs = 500;
const maxBackoffMs = 30_000;
/** A connection that served for so long starts the back-off anew when it is lost. */
const goodServiceMs = 60_000;
/** What a server may ask for with `Retry-After`. */
const maxRetryAfterSeconds = 300;
const closeTimeoutMs = 500;

export interface FeedClientOptions {
  url: string;
  /** Of the feed, in logs and metrics. */
  name: string;
  userAgent: string;
  maxMessageBytes: number;
  /** 0: never. */
  idleTimeoutSeconds: number;
  /** Default: 20 s. */
  pingIntervalMs?: number;
  /**
   * Gets every message as received, text or binary, in memory that is used again when it returns. Must not throw, and
   * nothing waits for it.
   */
  onMessage: (message: Buffer) => void;
  onStateChange: () => void;
  log: Logger;
  metrics: Metrics;
}

/** `waiting`: between two connections. */
type State = "idle" | "connecting" | "open" | "waiting" | "stopped";

/** How a connection ended. */
interface Ending {
  reason: string;
  retryAfterMs: number;
  servedMs: number;
}

/**
 * Keeps one certstream feed open: connects, watches over the connection, and replaces it when it is lost or falls
 * silent.
 */
export class FeedClient {
  readonly #options: FeedClientOptions;
  readonly #stop = new AbortController();
  readonly #quietLog = new RateLimitedLog();
  #state: State = "idle";
  #running: Promise<void> | null = null;
  #hasDelivered = false;
  /** Set by each message, cleared by each check: the path that reads the socket sets no timers. */
  #receivedSinceCheck = false;
  #isStopping = false;

  constructor(options: FeedClientOptions) {
    this.#options = options;
  }

  get state(): State {
    return this.#state;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Stops reading at once and closes the connection. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#stop.abort();
    await this.#running;
    this.#enter("stopped");
  }

  async #run(): Promise<void> {
    let backoffMs = firstBackoffMs;
    while (!this.#stop.signal.aborted) {
      this.#enter("connecting");
      const ending = await this.#serveOneConnection();
      if (this.#stop.signal.aborted) return;
      if (ending.servedMs >= goodServiceMs) backoffMs = firstBackoffMs;
      const delayMs = Math.max(backoffMs * (0.5 + Math.random() / 2), ending.retryAfterMs);
      this.#options.metrics.feedReconnects.inc({ feed: this.#options.name });
      this.#logEnding(ending, delayMs);
      this.#enter("waiting");
      await interruptibleSleep(delayMs, this.#stop.signal);
      backoffMs = Math.min(backoffMs * 2, maxBackoffMs);
    }
  }

  /** Resolves when the connection is over; never rejects. */
  #serveOneConnection(): Promise<Ending> {
    const { url, userAgent, maxMessageBytes, metrics, log } = this.#options;
    const frames = new FrameReader({ maxMessageBytes, onMessage: (message) => this.#receive(message) });
    const createConnection = (options: object) =>
      frames.connect(options as TcpNetConnectOpts, url.startsWith("wss:"));
    const socket = new WebSocket(url, {
      perMessageDeflate: false,
      maxPayload: maxMessageBytes,
      // Invalid UTF-8 must not cost the connection: what is parsed is decoded with replacement characters.
      skipUTF8Validation: true,
      headers: { "User-Agent": userAgent },
      createConnection: createConnection as NonNullable<WebSocket.ClientOptions["createConnection"]>,
    });
    let openedMs: number | null = null;
    let failure: string | null = null;
    let retryAfterMs = 0;
    const onStop = () => {
      socket.close(1000);
      setTimeout(() => socket.terminate(), closeTimeoutMs).unref();
    };
    this.#stop.signal.addEventListener("abort", onStop, { once: true });
    const onDead = (problem: string) => {
      failure = problem;
      socket.terminate();
    };
    // That of `ws` begins anew with each byte that comes.
    const handshakeTimer = setTimeout(() => {
      onDead(`the handshake took longer than ${handshakeTimeoutMs / 1000} s`);
    }, handshakeTimeoutMs);
    const watch = this.#watchOver(socket, onDead);
    socket.on("open", () => {
      clearTimeout(handshakeTimer);
      openedMs = performance.now();
      this.#enter("open");
      log.info({ feed: this.#options.name }, "connected to the feed");
      frames.open();
    });
    // Those that the frame reader leaves to `ws`: fragmented or very long.
    socket.on("message", (message) => this.#receive(message as Buffer));
    socket.on("unexpected-response", (request, response) => {
      failure = `the server refused with HTTP ${response.statusCode}`;
      retryAfterMs = retryAfterSeconds(response.headers["retry-after"], maxRetryAfterSeconds) * 1000;
      request.destroy();
      socket.terminate();
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      failure ??= error.message || error.code || "the connection failed";
      if (error.code === "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH") {
        metrics.feedCounts.refused.too_large += 1;
        failure = `a message was larger than FEED_MAX_MESSAGE_BYTES=${maxMessageBytes}`;
      }
    });
    return new Promise((resolve) => {
      socket.on("close", (code, reason) => {
        clearTimeout(handshakeTimer);
        clearInterval(watch);
        this.#stop.signal.removeEventListener("abort", onStop);
        const servedMs = openedMs === null ? 0 : performance.now() - openedMs;
        const words = reason.length > 0 ? `: ${reason.toString("utf8")}` : "";
        resolve({
          reason: failure ?? `the connection was closed (code ${code}${words})`,
          retryAfterMs,
          servedMs,
        });
      });
    });
  }

  #receive(message: Buffer): void {
    if (this.#isStopping) return;
    this.#receivedSinceCheck = true;
    this.#options.onMessage(message);
  }

  /**
   * Pings the server, and calls `onDead` when neither a pong nor a message comes until the next ping, or when a feed that
   * has delivered before delivers nothing for the idle timeout (certstream-server-go sends no heartbeats).
   */
  #watchOver(socket: WebSocket, onDead: (problem: string) => void): NodeJS.Timeout {
    const { idleTimeoutSeconds, pingIntervalMs = defaultPingIntervalMs } = this.#options;
    const idleMs = idleTimeoutSeconds * 1000;
    const checkMs = Math.max(Math.min(pingIntervalMs, idleMs === 0 ? pingIntervalMs : idleMs) / 4, 10);
    let lastMessageMs = performance.now();
    let lastPingMs = performance.now();
    let isAnswered = true;
    socket.on("pong", () => {
      isAnswered = true;
    });
    const check = () => {
      if (socket.readyState !== WebSocket.OPEN) return;
      const nowMs = performance.now();
      if (this.#receivedSinceCheck) {
        this.#receivedSinceCheck = false;
        this.#hasDelivered = true;
        lastMessageMs = nowMs;
        isAnswered = true;
      }
      if (idleMs > 0 && this.#hasDelivered && nowMs - lastMessageMs > idleMs) {
        onDead(`no message for ${idleTimeoutSeconds} s (FEED_IDLE_TIMEOUT_S)`);
      } else if (nowMs - lastPingMs >= pingIntervalMs - checkMs / 2) {
        if (!isAnswered) {
          onDead(`no answer to a ping within ${pingIntervalMs / 1000} s`);
          return;
        }
        isAnswered = false;
        lastPingMs = nowMs;
        socket.ping();
      }
    };
    // After a pause of this process timers come first: what has arrived meanwhile is to be read before the verdict.
    return setInterval(() => setImmediate(check), checkMs);
  }

  #logEnding({ reason, servedMs }: Ending, delayMs: number): void {
    const fields = { feed: this.#options.name, reason, retry_in_s: Math.round(delayMs / 100) / 10 };
    if (servedMs > 0) {
      this.#options.log.warn(fields, "lost the feed");
      return;
    }
    this.#quietLog.once("refused", () => {
      this.#options.log.error(
        fields,
        "cannot connect to the feed: is a certstream server running at CERTSTREAM_URL? The README, section 'A certstream server', shows how to start one",
      );
    });
  }

  #enter(state: State): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#options.metrics.feedConnected.set({ feed: this.#options.name }, state === "open" ? 1 : 0);
    this.#options.onStateChange();
  }
}
