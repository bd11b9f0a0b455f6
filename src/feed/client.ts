import { type Logger, RateLimitedLog } from "../log.ts";
import { Backoff, interruptibleSleep } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import { type Ending, serveConnection } from "./connection.ts";
import { defaultPingIntervalMs } from "./liveness.ts";

export interface FeedClientOptions {
  /** The feed's URL. May contain user and password. */
  url: string;
  /** The value of the `Authorization` header, used in place of user and password. */
  authorization?: string | null;
  /** The feed's name in logs and metrics. */
  name: string;
  userAgent: string;
  maxMessageBytes: number;
  /** How long a feed that delivered before may be silent before we connect again; 0: a silent feed is left alone. */
  idleTimeoutSeconds: number;
  /** Time between two pings. Default: 20 s. */
  pingIntervalMs?: number;
  /**
   * Gets every message as received, text or binary. The message's memory is used again when this function returns.
   * Returns whether the message was a certificate update. Must not throw and must not be asynchronous.
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
 * Keeps one certstream feed open: connects, watches over the connection, and connects again when the connection is lost
 * or falls silent.
 */
export class FeedClient {
  readonly #options: FeedClientOptions;
  readonly #stop = new AbortController();
  readonly #quietLog = new RateLimitedLog();
  #state: State = "idle";
  #running: Promise<void> | null = null;
  /** Whether the feed has ever brought a message. */
  #hasDelivered = false;
  /** Each message sets this flag, each check of liveness clears it. So the path that reads the socket sets no timer. */
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

  /** Stops reading at once and closes the connection. Calling this more than once is safe. */
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
      // Even a short connection resets the backoff: many proxies cut every connection after a minute or less.
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

  /** @throws Error if `nextStates` does not allow this step, which would be a mistake in this file. */
  #enter(state: State): void {
    if (this.#state === state) return;
    if (!nextStates[this.#state].includes(state))
      throw new Error(`a feed that is ${this.#state} cannot become ${state}`);
    this.#state = state;
    this.#options.metrics.feedConnected.set({ feed: this.#options.name }, state === "open" ? 1 : 0);
    this.#options.onStateChange();
  }
}
