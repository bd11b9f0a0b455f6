import type { Database } from "../db/pool.ts";
import type { Logger } from "../log.ts";
import { Loop } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import { buildWatchList, type WatchList } from "./matcher.ts";
import { readWatchListRows } from "./read.ts";

/** The longest time that reading the watch list may take. A million rows take a few seconds. */
const deadlineMs = 60_000;
/** If a list of at least this many entries becomes empty, that is more likely a mistake upstream than intended. */
const many = 10;

export interface WatchListRefreshOptions {
  db: Database;
  log: Logger;
  metrics: Metrics;
  intervalSeconds: number;
  onError: (error: unknown) => void;
}

/** Keeps the watch list up to date with its table. A refresh that fails keeps the old list. */
export class WatchListRefresh {
  readonly loop: Loop;
  readonly #options: WatchListRefreshOptions;
  /** The list in use; `null` before the first refresh. A refresh replaces the whole list in one assignment. */
  #current: WatchList | null = null;
  /** When the list is to be read again, on the clock of `performance.now()`. */
  #nextMs = 0;

  constructor(options: WatchListRefreshOptions) {
    this.#options = options;
    this.loop = new Loop({
      name: "watch list refresh",
      step: async () => {
        // If the list was read before the loop started, the first refresh waits for an interval.
        const waitMs = this.#nextMs - performance.now();
        if (waitMs > 0) return waitMs;
        await this.refresh();
        return this.#nextMs - performance.now();
      },
      onError: (error) => {
        options.metrics.watchRefreshFailures.inc();
        options.onError(error);
      },
    });
  }

  /** The list in use. Throws before the first {@link refresh} has succeeded. */
  get current(): WatchList {
    if (this.#current === null) throw new Error("the watch list was not read yet");
    return this.#current;
  }

  /** Reads the table and puts the new list in place of the old one. Rejects with the database's error. */
  async refresh(): Promise<void> {
    const { db, metrics, log, intervalSeconds } = this.#options;
    const { watchList, skipped } = await buildWatchList(await readWatchListRows(db, deadlineMs));
    const before = this.#current?.size ?? null;
    this.#current = watchList;
    this.#nextMs = performance.now() + intervalSeconds * 1000;
    metrics.watchEntries.set(watchList.size);
    metrics.watchRefreshed.set(Date.now() / 1000);
    if (skipped.count > 0) {
      log.warn(
        { skipped: skipped.count, examples: skipped.examples },
        "watch entries that cannot be used were skipped",
      );
    }
    if (watchList.size === 0 && before === null) {
      log.warn("the watch list is empty: nothing will match until public.intent_current has rows");
    } else if (watchList.size === 0 && before! >= many) {
      log.warn(
        { entries_before: before },
        "the watch list has become empty: is public.intent_current being rebuilt?",
      );
    } else if (before !== null && before !== watchList.size) {
      log.info({ entries: watchList.size, entries_before: before }, "the watch list has changed");
    }
  }
}
