/** Pieces of work in one turn of the event loop. Each takes 0.1 to 0.3 ms. */
const piecesPerTurn = 8;

/**
 * The line in which all work of the HTTP port waits. In each turn of the event loop a few pieces are done; then the
 * loop reads the feed, Postgres and the receiver again. So nobody can stall those by asking the port too much.
 */
export class Turns {
  readonly #waiting: (() => void)[] = [];

  /** Resolves when it is the caller's turn. First come, first served. */
  next(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#waiting.push(resolve) === 1) setImmediate(this.#serve);
    });
  }

  readonly #serve = (): void => {
    for (const resolve of this.#waiting.splice(0, piecesPerTurn)) resolve();
    if (this.#waiting.length > 0) setImmediate(this.#serve);
  };
}
