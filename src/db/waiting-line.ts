interface Waiter<T> {
  grant(item: T): void;
  refuse(error: Error): void;
}

/** Callers that wait until somebody gives back an item that they need. Whoever came first is served first. */
export class WaitingLine<T> {
  readonly #waiters: Waiter<T>[] = [];

  /**
   * Resolves with the item that {@link serve} hands over.
   *
   * @param untilMs the time to give up waiting, by `performance.now()`.
   * @param lateError makes the error with which the promise is then rejected.
   */
  wait(untilMs: number, lateError: () => Error): Promise<T> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        clearTimeout(timer);
        const place = this.#waiters.indexOf(waiter);
        if (place >= 0) this.#waiters.splice(place, 1);
      };
      const waiter: Waiter<T> = {
        grant(item) {
          leave();
          resolve(item);
        },
        refuse(error) {
          leave();
          reject(error);
        },
      };
      const timer = setTimeout(() => waiter.refuse(lateError()), untilMs - performance.now());
      this.#waiters.push(waiter);
    });
  }

  /** Hands `item` to the caller that has waited longest. Returns false if nobody waits. */
  serve(item: T): boolean {
    const first = this.#waiters[0];
    first?.grant(item);
    return first !== undefined;
  }

  /** Rejects the promise of every caller that waits. */
  refuseAll(error: () => Error): void {
    for (const waiter of [...this.#waiters]) waiter.refuse(error());
  }
}
