import type { SendResult } from "./answer.ts";

/** The rules of {@link Patience}, in milliseconds. */
export interface PatienceTimes {
  /** The wait where the receiver names none; it doubles with each refusal that follows, up to `longestWaitMs`. */
  firstWaitMs: number;
  longestWaitMs: number;
  /** The pause between the end of one attempt and the beginning of the next. */
  paceMs: number;
  /** The pace ends when the receiver has refused nothing for this long. */
  calmMs: number;
}

const defaultTimes: PatienceTimes = {
  firstWaitMs: 1_000,
  longestWaitMs: 60_000,
  paceMs: 1_000,
  calmMs: 60_000,
};

/**
 * What the receiver asked for when it answered "later" (429, or 503 with `Retry-After`): first a wait in which nothing is
 * sent, then a pace of one alert at a time. The pace ends after a minute without another "later".
 *
 * Every process learns this by itself, from the answers to its own attempts. A restarted process, and another replica,
 * learn it from the table: see {@link recall}.
 */
export class Patience {
  readonly #times: PatienceTimes;
  #nextWaitMs: number;
  /** When the receiver last asked for patience. This and the following times are of the monotonic clock. */
  #askedAtMs = Number.NEGATIVE_INFINITY;
  /** Nothing is sent before this time. */
  #untilMs = 0;
  /** The pace ends at this time. */
  #calmAtMs = 0;

  constructor(times: Partial<PatienceTimes> = {}) {
    this.#times = { ...defaultTimes, ...times };
    this.#nextWaitMs = this.#times.firstWaitMs;
  }

  /** True from the first "later" until the pace ends. */
  get isAsked(): boolean {
    return performance.now() < this.#calmAtMs;
  }

  /** Milliseconds until the next attempt may begin; 0 where it may begin now. */
  get waitMs(): number {
    return this.isAsked ? Math.max(this.#untilMs - performance.now(), 0) : 0;
  }

  /** Whether an attempt may begin now, while others are under way or not. */
  allows(isBusy: boolean): boolean {
    return !this.isAsked || (!isBusy && this.waitMs === 0);
  }

  /** Takes note of an answer to an attempt that began at `begunMs`. */
  heard(result: SendResult, begunMs: number): void {
    const nowMs = performance.now();
    // An attempt that was under way when the receiver asked tells nothing new: 32 refusals at once are one refusal.
    const isNews = begunMs >= this.#askedAtMs;
    if (result.kind === "later") {
      this.#ask(nowMs, result.retryAfterSeconds, isNews);
    } else if (result.kind === "delivered" && isNews) {
      this.#nextWaitMs = this.#times.firstWaitMs;
    }
    if (this.isAsked) this.#untilMs = Math.max(this.#untilMs, nowMs + this.#times.paceMs);
  }

  /**
   * An event was claimed to which the receiver has said "later" before: to this process before it was restarted, or to
   * another replica. The pace is kept from now on, without a burst of attempts to find out again.
   */
  recall(): void {
    if (!this.isAsked) this.#calmAtMs = performance.now() + this.#times.calmMs;
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
