import { type CtLogs, noLog } from "./ct-logs.ts";

/**
 * How long an index that was skipped may still arrive. certstream-server-go reads each log in order, but waits up to 45 s
 * for a full batch and up to 30 s between two polls (`scanner/fetcher.go` of certificate-transparency-go, `updateSTH`):
 * two servers of one log can lie that far apart.
 */
const defaultSettleMs = 120_000;

/** Ranges of one log that may still be filled; beyond, the oldest counts as lost at once. */
const defaultMaxOpenRanges = 1024;

/** Closed ranges that wait to be taken for the log; beyond, they are only counted. */
const maxClosedGaps = 256;

/** Logs that have a label of their own; the others share `other`. */
const maxLabels = 128;

/** A step further than this, forward or back, is not believed until so many messages of the log in a row say so. */
const maxStep = 1_000_000_000;
const messagesToBelieve = 100;

/** Indices of one log, one after the other, that never arrived. */
export interface Gap {
  /** Without scheme, as `CtLogs` gives it. */
  logUrl: string;
  first: number;
  last: number;
}

/** Indices that were skipped and may still arrive. */
interface OpenRange {
  first: number;
  last: number;
  /** Time of the last `settle` before. */
  readonly openedMs: number;
}

interface LogState {
  /** The highest index that is believed. */
  highest: number;
  /** Ascending in index and in age, none empty, apart from each other. */
  readonly open: OpenRange[];
  /** Messages in a row that were a step too far from `highest`. */
  strays: number;
  strayedFrom: number;
  /** Where the log's lost entries are counted. */
  readonly lost: LostEntries;
}

/** What one label of `certwatch_ct_gap_entries_total` counts. */
export interface LostEntries {
  readonly log: string;
  count: number;
}

/**
 * Counts, per log and over the union of the feeds, the entries that never arrived.
 *
 * - The first index of a log opens nothing: certwatch does not ask for the past. So the entry that certstream-server-go
 *   (1.9) loses of each static-ct log when it starts (`entryIndex <= w.ctIndex` in `processTile`) is not seen as a gap.
 * - An index that is skipped opens a range. What of it has not arrived when `settleMs` is over counts, once and for
 *   good: the count only grows, and entries out of order do not count. Time without a server, or without a connection,
 *   counts as well, for its entries never arrived.
 * - An index that is not above the highest only fills an open range, if any. So a server that starts again from an
 *   earlier index counts nothing, and a log that was replaced under its URL counts nothing until it is as long.
 * - A step of more than 1,000,000,000 in either direction is a broken message until 100 in a row of its log say so. Then
 *   the log starts anew there: what lies between is not counted.
 * - Bounds: 1024 open ranges per log (the oldest counts as lost then), 256 logs (see `CtLogs`).
 * - Where a server removes duplicates across logs, a missing index means nothing: its messages can only fill ranges that
 *   another feed left open. Of such feeds alone, nothing counts.
 *
 * No clock is read: `settle` brings the time.
 */
export class GapAccounting {
  /** Messages whose log or index could not be told. */
  unknownMessages = 0;
  /** Messages of servers that remove duplicates across logs. */
  deduplicatedMessages = 0;

  readonly #logs: CtLogs;
  readonly #settleMs: number;
  readonly #maxOpenRanges: number;
  readonly #states: (LogState | undefined)[] = [];
  readonly #lost: LostEntries[] = [];
  #closed: Gap[] = [];
  #untoldGaps = 0;
  #nowMs: number;

  /** `nowMs` by the clock that `settle` is called with. */
  constructor(
    logs: CtLogs,
    nowMs: number,
    { settleMs = defaultSettleMs, maxOpenRanges = defaultMaxOpenRanges } = {},
  ) {
    this.#logs = logs;
    this.#settleMs = settleMs;
    this.#maxOpenRanges = maxOpenRanges;
    this.#nowMs = nowMs;
  }

  /** Takes the index of one message. `log` as `CtLogs` numbers it, or `noLog`. */
  observe(log: number, index: number): void {
    if (log === noLog) {
      this.unknownMessages += 1;
      return;
    }
    const state = this.#states[log];
    if (state !== undefined && index === state.highest + 1) state.highest = index;
    else this.#observeStep(log, state, index);
  }

  /** Takes the index of one message of a server that removes duplicates across logs. */
  observeDeduplicated(log: number, index: number): void {
    this.deduplicatedMessages += 1;
    const state = log === noLog ? undefined : this.#states[log];
    if (state !== undefined) this.#fill(log, state, index);
  }

  /** Closes what has been open for too long. To be called every second or so, with a clock that never goes back. */
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

  /** The gaps closed since the last call, and how many more there were than are kept. */
  takeClosedGaps(): { gaps: Gap[]; untold: number } {
    const taken = { gaps: this.#closed, untold: this.#untoldGaps };
    this.#closed = [];
    this.#untoldGaps = 0;
    return taken;
  }

  /** Lost entries per label, from the moment that a log is first seen. The counts only grow. */
  lostEntries(): readonly LostEntries[] {
    return this.#lost;
  }

  #observeStep(log: number, state: LogState | undefined, index: number): void {
    if (!Number.isSafeInteger(index) || index < 0) {
      this.unknownMessages += 1;
    } else if (state === undefined) {
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
    const isOther = this.#lost.length >= maxLabels;
    const existing = isOther ? this.#lost[maxLabels] : undefined;
    if (existing !== undefined) return existing;
    const lost = { log: isOther ? "other" : this.#logs.urlOf(log), count: 0 };
    this.#lost.push(lost);
    return lost;
  }
}
