/**
 * When to ask the database again for work that is due, by this process's monotonic clock. The first look is due at once.
 * Whoever learns of work brings the look forward; nobody can put it off but the look itself, when it begins.
 */
export class NextLook {
  #atMs = 0;

  get isDue(): boolean {
    return performance.now() >= this.#atMs;
  }

  /** Milliseconds until the look is due; 0 or less: it is. */
  get waitMs(): number {
    return this.#atMs - performance.now();
  }

  /**
   * A look begins; the next one is in `pollMs` unless somebody expects work earlier. Call it before the question goes to the
   * database, so that work which is recorded meanwhile still brings the next look forward.
   */
  begin(pollMs: number): void {
    this.#atMs = performance.now() + pollMs;
  }

  /** Something is due in `waitMs`. */
  expectIn(waitMs: number): void {
    this.#atMs = Math.min(this.#atMs, performance.now() + waitMs);
  }
}
