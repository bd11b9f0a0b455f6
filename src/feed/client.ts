import { type Logger, RateLimitedLog } from "../log.ts";
import { Backoff, interruptibleSleep } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import { type Ending, serveConnection } from "./connection.ts";
import { defaultPingIntervalMs } from "./liveness.ts";

export interface FeedClientOptions {
  /** May have user and password in it. */
  url: string;
  /** The value of the `Authorization` header, in place of user and password. */
  authorization?: string | null;
  /** Names the feed in logs and metrics. */
  name: string;
  userAgent: string;
  maxMessageBytes: number;
  /** 0: never. */
  idleTimeoutSeconds: number;
  /** Default: 20 s. */
  pingIntervalMs?: number;
  /**
   * Gets every message as received, text or binary, in memory that is used again when it returns. Returns whether the
   * message was a certificate update. Must not throw, and nothing waits for it.
   */
  onMessage: (message: Buffer) => boolean;
  onStateChange: () => void;
  log: Logger;
  metrics: Metrics;
}

/** `waiting`: the time between two connections. */
type State = "idle" | "connecting" | "open" | "waiting" | "stopped";

/** The states that may follow each state. */
const nextStates: Record<State, readonly State[]> = {
  idle: ["connecting", "stopped"],
  connecting: ["open", "waiting", "stopped"],
  open: ["waiting", "stopped"],
  waiting: ["connecting", "stopped"],
  stopped: [],
};

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
  /** Whether the feed has ever brought a message. */
  #hasDelivered = false;
  /** Set by each message, cleared by each check of liveness: the path that reads the socket sets no timers. */
  #receivedSinceCheck = false;
  /** Whether the present connection has brought a certificate update. */
  #isGoodService = false;
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

  /** Stops reading at once and closes the connection. Can be called again. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#stop.abort();
    await this.#running;
    this.#enter("stopped");
  }

  async #run(): Promise<void> {
    const backoff = new Backoff();
    while (!this.#stop.signal.aborted) {
      this.#enter("connecting");
      const ending = await this.#serveOneConnection();
      if (this.#stop.signal.aborted) return;
      // However short the connection was: many proxies cut every connection after a minute or less.
      if (this.#isGoodService) backoff.reset();
      const delayMs = Math.max(backoff.nextMs(), ending.retryAfterMs);
      this.#options.metrics.feedReconnects.inc({ feed: this.#options.name });
      this.#logEnding(ending, delayMs);
      this.#enter("waiting");
      await interruptibleSleep(delayMs, this.#stop.signal);
    }
  }

  #serveOneConnection(): Promise<Ending> {
    const { name, pingIntervalMs = defaultPingIntervalMs, log, metrics } = this.#options;
    this.#isGoodService = false;
    return serveConnection({
      ...this.#options,
      pingIntervalMs,
      signal: this.#stop.signal,
      onOpen: () => {
        this.#enter("open");
        log.info({ feed: name }, "connected to the feed");
      },
      onMessage: (message) => this.#receive(message),
      onTooLarge: () => {
        metrics.feedCounts.refused.too_large += 1;
      },
      takeReceived: () => this.#takeReceived(),
      hasDelivered: () => this.#hasDelivered,
    });
  }

  #receive(message: Buffer): void {
    if (this.#isStopping) return;
    this.#receivedSinceCheck = true;
    if (this.#options.onMessage(message)) this.#isGoodService = true;
  }

  #takeReceived(): boolean {
    const received = this.#receivedSinceCheck;
    this.#receivedSinceCheck = false;
    this.#hasDelivered ||= received;
    return received;
  }

  #logEnding({ reason, wasOpen, wasRefused }: Ending, delayMs: number): void {
    const fields = { feed: this.#options.name, reason, retry_in_s: Math.round(delayMs / 100) / 10 };
    if (wasOpen) {
      this.#options.log.warn(fields, "lost the feed");
      return;
    }
    this.#quietLog.once(wasRefused ? "refused" : "not reached", () => {
      if (wasRefused) {
        this.#options.log.error(fields, "the server of the feed refuses this client: see reason");
        return;
      }
      this.#options.log.error(
        fields,
        "cannot connect to the feed: is a certstream server running at CERTSTREAM_URL? The README, section 'A certstream server', shows how to start one",
      );
    });
  }

  /** @throws Error where a mistake in this file makes a step that its states do not have. */
  #enter(state: State): void {
    if (this.#state === state) return;
    if (!nextStates[this.#state].includes(state))
      throw new Error(`a feed that is ${this.#state} cannot become ${state}`);
    this.#state = state;
    this.#options.metrics.feedConnected.set({ feed: this.#options.name }, state === "open" ? 1 : 0);
    this.#options.onStateChange();
  }
}
