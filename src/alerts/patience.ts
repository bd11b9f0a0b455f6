import type { SendResult } from "./answer.ts";

/** The durations that {@link Patience} uses, in milliseconds. */
export interface PatienceTimes {
  /** The wait if the receiver names none. It doubles with each "later" that follows, up to `longestWaitMs`. */
  firstWaitMs: number;
  longestWaitMs: number;
  /** The pause between the end of one attempt and the beginning of the next. */
  paceMs: number;
  /** How long the receiver must not answer "later" before the pace ends. */
  calmMs: number;
}

const defaultTimes: PatienceTimes = {
  firstWaitMs: 1_000,
  longestWaitMs: 60_000,
  paceMs: 1_000,
  calmMs: 60_000,
};

/**
 * The receiver's request for patience: it answered "later" (429, or 503 with `Retry-After`). First nothing is sent for
 * a wait, then one alert is sent at a time (the pace). The pace ends after a minute without another "later".
 *
 * A process learns of the request from an answer to one of its own attempts, or from the table, when it claims an event
 * that the receiver answered with "later" before: see {@link recall}.
 */
export class Patience {
  readonly #times: PatienceTimes;
  #nextWaitMs: number;
  /**
   * The time at which the receiver last asked for patience. This and the next three times are of the monotonic clock.
   */
  #askedAtMs = Number.NEGATIVE_INFINITY;
  /** Nothing is sent before this time. */
  #untilMs = 0;
  /** The pace ends at this time. */
  #calmAtMs = 0;
  #heardAtMs = Number.NEGATIVE_INFINITY;

  constructor(times: Partial<PatienceTimes> = {}) {
    this.#times = { ...defaultTimes, ...times };
    this.#nextWaitMs = this.#times.firstWaitMs;
  }

  /** True from the first "later" until the pace ends. */
  get isAsked(): boolean {
    return performance.now() < this.#calmAtMs;
  }

  /** Milliseconds until the next attempt may begin; 0 if it may begin now. */
  get waitMs(): number {
    return this.isAsked ? Math.max(this.#untilMs - performance.now(), 0) : 0;
  }

  /** Whether an attempt may begin now. `isBusy`: other attempts are under way. */
  allows(isBusy: boolean): boolean {
    return !this.isAsked || (!isBusy && this.waitMs === 0);
  }

  /** Takes note of an answer to an attempt that began at `begunMs`. */
  heard(result: SendResult, begunMs: number): void {
    const nowMs = performance.now();
    this.#heardAtMs = nowMs;
    // The answer to an attempt that was under way when the receiver asked is no news: 32 refusals at once count as one.
    const isNews = begunMs >= this.#askedAtMs;
    if (result.kind === "later") {
      this.#ask(nowMs, result.retryAfterSeconds, isNews);
    } else if (result.kind === "delivered" && isNews) {
      this.#nextWaitMs = this.#times.firstWaitMs;
    }
    if (this.isAsked) this.#untilMs = Math.max(this.#untilMs, nowMs + this.#times.paceMs);
  }

  /**
   * To be called for a claimed event that the receiver answered with "later" before: to another replica, or to this
   * process before a restart. The pace then begins at once, without a burst of attempts that finds out again. If the
   * receiver answered this process in the last minute, the process knows better: an old "later" changes nothing.
   */
  recall(): void {
    const nowMs = performance.now();
    const { calmMs } = this.#times;
    if (!this.isAsked && nowMs - this.#heardAtMs >= calmMs) this.#calmAtMs = nowMs + calmMs;
  }

  #ask(nowMs: number, retryAfterSeconds: number | null, isNews: boolean): void {
    const { calmMs, longestWaitMs } = this.#times;
    if (retryAfterSeconds !== null) {
      this.#untilMs = Math.max(this.#untilMs, nowMs + Math.min(retryAfterSeconds * 1000, longestWaitMs));
    } else if (isNews) {
      this.#untilMs = Math.max(this.#untilMs, nowMs + this.#nextWaitMs);
      this.#nextWaitMs = Math.min(this.#nextWaitMs * 2, longestWaitMs);
    }
    this.#askedAtMs = nowMs;
    this.#calmAtMs = this.#untilMs + calmMs;
  }
}
