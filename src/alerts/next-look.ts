/**
 * The time at which to ask the database for due work again (the next look), by this process's monotonic clock. The
 * first look is due at once. `expectIn` can only bring the next look forward; only `begin` sets a later time.
 */
export class NextLook {
  #atMs = 0;

  get isDue(): boolean {
    return performance.now() >= this.#atMs;
  }

  /** Milliseconds until the look is due; 0 or less if it is due. */
  get waitMs(): number {
    return this.#atMs - performance.now();
  }

  /**
   * Begins a look, and sets the next look to `pollMs` from now. Call this before the query goes to the database, so
   * that work which is recorded during the query still brings the next look forward.
   */
  begin(pollMs: number): void {
    this.#atMs = performance.now() + pollMs;
  }

  /** Notes that work is due in `waitMs`: the next look is no later than this. */
  expectIn(waitMs: number): void {
    this.#atMs = Math.min(this.#atMs, performance.now() + waitMs);
  }
}
