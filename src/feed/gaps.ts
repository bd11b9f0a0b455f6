import { type CtLogs, maxLabels } from "./ct-logs.ts";

/**
 * How long certwatch waits for an index that was skipped. certstream-server-go reads each log in order, but waits up to
 * 45 s for a full batch and up to 30 s between two polls (`scanner/fetcher.go` of certificate-transparency-go,
 * `updateSTH`): two servers that read the same log can be that far apart.
 */
const defaultSettleMs = 120_000;

/** The greatest number of open ranges of one log. With one more, the oldest counts as lost at once. */
const defaultMaxOpenRanges = 1024;

/** The greatest number of closed gaps that wait to be logged. Further closed gaps are only counted. */
const maxClosedGaps = 256;

/**
 * A step of more than `maxStep`, forward or back, is believed once `messagesToBelieve` messages of the log in a row are
 * that far away.
 */
const maxStep = 1_000_000_000;
const messagesToBelieve = 100;

/** An unbroken run of indices of one log that never arrived. */
export interface Gap {
  /** The log's URL without scheme, as `CtLogs` returns it. */
  logUrl: string;
  first: number;
  last: number;
}

/** A range of indices that were skipped and may still arrive. */
interface OpenRange {
  first: number;
  last: number;
  /** The time that the last `settle` before the skip was called with. */
  readonly openedMs: number;
}

interface LogState {
  /** The highest index that is believed. */
  highest: number;
  /** Ranges that may still be filled: lowest and oldest first, none empty, none overlapping. */
  readonly open: OpenRange[];
  /** The number of messages in a row that were more than `maxStep` away from `highest`. */
  strays: number;
  strayedFrom: number;
  /** Where the log's lost entries are counted. */
  readonly lost: LostEntries;
}

/** The value of `certwatch_ct_gap_entries_total` for one label. */
export interface LostEntries {
  readonly log: string;
  count: number;
}

/**
 * Counts, per log, the entries that arrived on none of the feeds.
 *
 * - The first index of a log opens no range: certwatch does not ask for earlier entries. certstream-server-go 1.9 loses
 *   one entry of each static-ct log at its start (`entryIndex <= w.ctIndex` in `processTile`): that is not counted.
 * - Skipped indices open a range. The indices that have not arrived after `settleMs` count as lost, once and for good:
 *   the count only grows, and entries out of order do not count. Entries that passed while there was no server or no
 *   connection count as well, because they never arrived.
 * - An index that is not above the highest only fills an open range, if there is one. So nothing counts when a server
 *   starts again from an earlier index, or when a new log under the same URL is still shorter than the old log.
 * - A step of more than 1,000,000,000 in either direction is taken for a broken message. After 100 such messages of a
 *   log in a row the log starts again at the last of them: the entries between are not counted.
 * - Bounds: 1024 open ranges per log (with one more, the oldest counts as lost), 256 logs (see `CtLogs`).
 * - A feed whose missing indices mean nothing (see `FeedOrigins`) only fills ranges that another feed left open. If all
 *   feeds are of this kind, nothing is counted.
 *
 * This class reads no clock: it takes the time from the calls of `settle`.
 */
export class GapAccounting {
  readonly #logs: CtLogs;
  readonly #settleMs: number;
  readonly #maxOpenRanges: number;
  readonly #states: (LogState | undefined)[] = [];
  /** For each number below `maxLabels`; the last place is for all other logs. */
  readonly #lost: (LostEntries | undefined)[] = [];
  #closed: Gap[] = [];
  #untoldGaps = 0;
  #nowMs: number;

  /** @param nowMs the time, from the clock that `settle` is called with. */
  constructor(
    logs: CtLogs,
    nowMs: number,
    { settleMs = defaultSettleMs, maxOpenRanges = defaultMaxOpenRanges } = {},
  ) {
    this.#logs = logs;
    this.#settleMs = settleMs;
    this.#maxOpenRanges = maxOpenRanges;
    this.#nowMs = nowMs;
    logs.onReplaced((log) => {
      this.#states[log] = undefined;
      if (log < maxLabels) this.#lost[log] = undefined;
    });
  }

  /** Takes the index of one message: a safe integer, not negative. `log` is the number that `CtLogs` gave. */
  observe(log: number, index: number): void {
    const state = this.#states[log];
    if (state !== undefined && index === state.highest + 1) state.highest = index;
    else this.#observeStep(log, state, index);
  }

  /** Takes the index of one message of a feed whose missing indices mean nothing. */
  observeWithoutGaps(log: number, index: number): void {
    const state = this.#states[log];
    if (state !== undefined) this.#fill(log, state, index);
  }

  /** Forgets the ranges that are open: what was skipped there does not count. */
  forgetOpenRanges(): void {
    for (const state of this.#states) if (state !== undefined) state.open.length = 0;
  }

  /** Closes ranges that were open too long. To be called about once a second, with a clock that never goes back. */
  settle(nowMs: number): void {
    this.#nowMs = nowMs;
    this.#states.forEach((state, log) => {
      if (state === undefined) return;
      for (let oldest = state.open[0]; oldest !== undefined; oldest = state.open[0]) {
        if (nowMs - oldest.openedMs < this.#settleMs) return;
        this.#closeOldest(log, state);
      }
    });
  }

  /** Returns the gaps closed since the last call. `untold`: how many more were closed than could be kept. */
  takeClosedGaps(): { gaps: Gap[]; untold: number } {
    const taken = { gaps: this.#closed, untold: this.#untoldGaps };
    this.#closed = [];
    this.#untoldGaps = 0;
    return taken;
  }

  /**
   * Returns the number of lost entries for each label. A log is counted once it was seen. The counts only
   * grow, but a log that gives its label to another one is no longer among them.
   */
  lostEntries(): readonly LostEntries[] {
    return this.#lost.filter((lost) => lost !== undefined);
  }

  #observeStep(log: number, state: LogState | undefined, index: number): void {
    if (state === undefined) {
      this.#states[log] = { highest: index, open: [], strays: 0, strayedFrom: 0, lost: this.#lostOf(log) };
    } else if (Math.abs(index - state.highest) > maxStep) {
      this.#stray(log, state, index);
    } else if (index > state.highest) {
      state.open.push({ first: state.highest + 1, last: index - 1, openedMs: this.#nowMs });
      state.highest = index;
      this.#enforceBound(log, state);
    } else {
      state.strays = 0;
      this.#fill(log, state, index);
    }
  }

  /** Takes an index out of the open ranges. */
  #fill(log: number, state: LogState, index: number): void {
    const { open } = state;
    let low = 0;
    let high = open.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((open[middle] as OpenRange).last < index) low = middle + 1;
      else high = middle;
    }
    const range = open[low];
    if (range === undefined || index < range.first) return;
    if (range.first === range.last) open.splice(low, 1);
    else if (index === range.first) range.first += 1;
    else if (index === range.last) range.last -= 1;
    else {
      open.splice(low, 0, { ...range, last: index - 1 });
      range.first = index + 1;
      this.#enforceBound(log, state);
    }
  }

  #stray(log: number, state: LogState, index: number): void {
    if (state.strayedFrom !== state.highest) {
      state.strayedFrom = state.highest;
      state.strays = 0;
    }
    state.strays += 1;
    if (state.strays < messagesToBelieve) return;
    while (state.open.length > 0) this.#closeOldest(log, state);
    state.highest = index;
    state.strays = 0;
  }

  #enforceBound(log: number, state: LogState): void {
    if (state.open.length > this.#maxOpenRanges) this.#closeOldest(log, state);
  }

  #closeOldest(log: number, { open, lost }: LogState): void {
    const { first, last } = open.shift() as OpenRange;
    lost.count += last - first + 1;
    if (this.#closed.length < maxClosedGaps)
      this.#closed.push({ logUrl: this.#logs.urlOf(log), first, last });
    else this.#untoldGaps += 1;
  }

  #lostOf(log: number): LostEntries {
    const place = Math.min(log, maxLabels);
    const lost = this.#lost[place] ?? { log: place < maxLabels ? this.#logs.urlOf(log) : "other", count: 0 };
    this.#lost[place] = lost;
    return lost;
  }
}
