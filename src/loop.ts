import { setTimeout as sleep } from "node:timers/promises";

/** Work that can be done in steps, repeated for as long as the service runs. */
export interface LoopOptions {
  /** Named in logs and in `/healthz`. */
  name: string;
  /**
   * Does the work that there is. Returns the milliseconds until it wants to run again (0: at once, Infinity: only when
   * woken). Every wait inside it has a limit, so a step that does not end is a stalled one.
   */
  step: (signal: AbortSignal) => Promise<number>;
  /** Called with what `step` threw; the loop goes on after a back-off. */
  onError: (error: unknown) => void;
  /** A step that takes longer than this counts as stalled, milliseconds. */
  stallMs?: number;
}

const firstBackoffMs = 500;
const longestBackoffMs = 30_000;
const defaultStallMs = 300_000;
/** The longest delay a Node.js timer keeps; a longer one fires at once. */
const maxTimerMs = 2_147_483_647;

/**
 * How long to wait before something that failed is tried again: 0.5 s after the first failure, then twice as long each
 * time, up to 30 s. Each wait is drawn at random between half of that and all of it, so that processes that lost the
 * same server do not come back at the same moment.
 */
export class Backoff {
  #longestMs = firstBackoffMs;

  /** How long to wait after one more failure, milliseconds. */
  nextMs(): number {
    const waitMs = this.#longestMs * (0.5 + Math.random() / 2);
    this.#longestMs = Math.min(this.#longestMs * 2, longestBackoffMs);
    return waitMs;
  }

  /** It worked: the next failure is a first one again. */
  reset(): void {
    this.#longestMs = firstBackoffMs;
  }
}

/**
 * One concern of the service, running beside the others. It never runs two steps at once. It repeats a failed step
 * after a back-off. Whoever wakes it does not wait for it.
 */
export class Loop {
  readonly name: string;
  readonly #options: LoopOptions;
  readonly #stop = new AbortController();
  #wakeRequested = false;
  #endSleep: () => void = () => {};
  #stepStartedMs: number | null = null;
  #running: Promise<void> | null = null;
  #died = false;

  constructor(options: LoopOptions) {
    this.name = options.name;
    this.#options = options;
  }

  /** Starts the loop; the first step runs at once. */
  start(): void {
    // Only an `onError` that throws ends a loop. Then `/healthz` is the one place left that can tell.
    this.#running ??= this.#run().catch(() => {
      this.#died = true;
    });
  }

  /** Asks for another step as soon as the current one is over. */
  wake(): void {
    this.#wakeRequested = true;
    this.#endSleep();
  }

  /** Ends the loop after the step that is running, which sees its signal aborted. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#endSleep();
    await this.#running;
  }

  /** What is wrong with the loop, for `/healthz`; `null` while it works. */
  problem(): string | null {
    if (this.#died) return `${this.name} has died`;
    const stallMs = this.#options.stallMs ?? defaultStallMs;
    if (this.#stepStartedMs !== null && performance.now() - this.#stepStartedMs > stallMs) {
      return `${this.name} has been stuck for more than ${stallMs / 1000} s`;
    }
    return null;
  }

  async #run(): Promise<void> {
    const backoff = new Backoff();
    while (!this.#stop.signal.aborted) {
      this.#wakeRequested = false;
      this.#stepStartedMs = performance.now();
      try {
        const delayMs = await this.#options.step(this.#stop.signal);
        this.#stepStartedMs = null;
        backoff.reset();
        await this.#sleep(delayMs);
      } catch (error) {
        this.#stepStartedMs = null;
        this.#options.onError(error);
        // A wake-up does not shorten the back-off: else the step would fail as often as messages arrive.
        await interruptibleSleep(backoff.nextMs(), this.#stop.signal);
      }
    }
  }

  /**
   * A timer of its own, not `interruptibleSleep`: a loop is woken thousands of times a second, and an aborted signal
   * costs an error with its stack each time.
   */
  #sleep(delayMs: number): Promise<void> | undefined {
    if (this.#wakeRequested || delayMs <= 0 || this.#stop.signal.aborted) return undefined;
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.min(delayMs, maxTimerMs));
      this.#endSleep = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** Resolves after `delayMs` (at most a timer's longest) or as soon as `signal` is aborted. Never rejects. */
export async function interruptibleSleep(delayMs: number, signal: AbortSignal): Promise<void> {
  await sleep(Math.min(delayMs, maxTimerMs), undefined, { signal }).catch(() => {});
}

/** Resolves when `work` has settled, or after `timeoutMs`, whichever comes first. Never rejects. */
export async function settledWithin(work: Promise<unknown>, timeoutMs: number): Promise<void> {
  const settled = new AbortController();
  const end = () => settled.abort();
  work.then(end, end);
  await interruptibleSleep(timeoutMs, settled.signal);
}
