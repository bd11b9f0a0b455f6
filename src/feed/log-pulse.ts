import { type CtLogs, maxLabels, maxLogs } from "./ct-logs.ts";

const minuteMs = 60_000;
const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

/** A log that brought fewer entries than this in a day is never called silent. */
const minEntries = 100;
/** The shortest silence that is told. */
const minSilenceMs = 6 * hourMs;
/** How many times the mean time between two entries of the log a silence lasts before it is told. */
const silentGaps = 50;
/** Shards take certificates by their end of validity: in its last weeks a shard takes few, then none. */
const shardEndMs = 21 * dayMs;

/** Time between two steps that is left out of account: the process was stopped, or the clock was set. */
const longestStepMs = 10_000;

/** What is known about one log. */
interface Pulse {
  /** When its last entry arrived, epoch milliseconds. */
  lastMs: number;
  /** Entries of the last 24 hours in which it spoke, by hour since the epoch, modulo 24. */
  readonly entries: Uint32Array;
  readonly hours: Int32Array;
  /** For how long no entry arrived while a feed that carries the log brought entries of another log. */
  quietMs: number;
  isSilent: boolean;
}

/** A log that has fallen silent. */
export interface SilentLog {
  logUrl: string;
  /** When its last entry arrived, epoch milliseconds. */
  lastMs: number;
  /** Entries in the 24 hours before that. */
  entries: number;
}

/**
 * Notices CT logs that a certstream server has stopped following, while it follows the others.
 *
 * A log is silent if it brought 100 entries or more in 24 h, and then none for the longer of 6 h and 50 times its mean
 * gap (24 h divided by those entries). Only time counts in which a feed that carried the log brought entries of another
 * log: each minute of that kind counts whole. Logs whose shard ends soon or has ended are let off, see `endsSoon`.
 *
 * This class reads no clock: it takes the time from the calls of `step`. The hours of a day are counted in 24 pieces, so
 * "24 h" is 23 to 24.
 */
export class LogPulse {
  readonly #logs: CtLogs;
  /** For each feed and each number of a log, the messages so far. The feeds count them. */
  readonly #heard: readonly Float64Array[];
  readonly #isLetOff: (logUrl: string, nowMs: number) => boolean;
  readonly #pulses: (Pulse | undefined)[] = [];
  /** As `#heard`, at the last step. */
  readonly #seen: Float64Array[];
  /** As `#heard`, at the beginning of the present minute. */
  readonly #atMinute: Float64Array[];
  #lastStepMs: number | null = null;
  #minuteMs = 0;
  #fadedMs = 0;
  #fellSilent: SilentLog[] = [];
  #spokeAgain: SilentLog[] = [];

  /** @param isLetOff whether the log is not expected to speak. */
  constructor(logs: CtLogs, heard: readonly Float64Array[], isLetOff = endsSoon) {
    this.#logs = logs;
    this.#heard = heard;
    this.#isLetOff = isLetOff;
    this.#seen = heard.map(() => new Float64Array(maxLogs));
    this.#atMinute = heard.map(() => new Float64Array(maxLogs));
    logs.onReplaced((log) => this.#forget(log));
  }

  /** Looks at what was heard since the last step. To be called about once a second. `nowMs`: epoch milliseconds. */
  step(nowMs: number): void {
    const passedMs = Math.min(Math.max(nowMs - (this.#lastStepMs ?? nowMs), 0), longestStepMs);
    this.#lastStepMs = nowMs;
    for (let log = 0; log < this.#logs.size; log++) this.#hear(log, nowMs);
    this.#minuteMs += passedMs;
    if (this.#minuteMs < minuteMs) return;
    this.#endMinute(nowMs, this.#minuteMs);
    this.#fadedMs += this.#minuteMs;
    this.#minuteMs = 0;
    if (this.#fadedMs >= hourMs) {
      this.#fadedMs = 0;
      this.#logs.fade();
    }
    this.#logs.promote();
  }

  /** Returns the logs that fell silent, and the silent ones that spoke again, since the last call. */
  takeChanges(): { fellSilent: SilentLog[]; spokeAgain: SilentLog[] } {
    const changes = { fellSilent: this.#fellSilent, spokeAgain: this.#spokeAgain };
    this.#fellSilent = [];
    this.#spokeAgain = [];
    return changes;
  }

  /** Returns the logs that are silent. */
  silent(): SilentLog[] {
    return this.#pulses.flatMap((pulse, log) => (pulse?.isSilent ? [this.#describe(log, pulse)] : []));
  }

  /** Returns how many logs spoke within the last 24 hours. */
  heardInADay(nowMs: number): number {
    return this.#pulses.filter((pulse) => pulse !== undefined && nowMs - pulse.lastMs < dayMs).length;
  }

  /** Returns when the last entry of each log arrived, epoch seconds; logs without a label share the label `other`. */
  lastEntries(): { log: string; epochSeconds: number }[] {
    const labelled = this.#pulses.slice(0, maxLabels).flatMap((pulse, log) => {
      return pulse === undefined ? [] : [{ log: this.#logs.urlOf(log), epochSeconds: pulse.lastMs / 1000 }];
    });
    const others = this.#pulses.slice(maxLabels).filter((pulse) => pulse !== undefined);
    if (others.length === 0) return labelled;
    const lastMs = Math.max(...others.map((pulse) => pulse.lastMs));
    return [...labelled, { log: "other", epochSeconds: lastMs / 1000 }];
  }

  #hear(log: number, nowMs: number): void {
    let entries = 0;
    for (const [feed, heard] of this.#heard.entries()) {
      entries += heard[log]! - this.#seen[feed]![log]!;
      this.#seen[feed]![log] = heard[log]!;
    }
    if (entries === 0) return;
    const pulse = this.#pulses[log] ?? newPulse();
    this.#pulses[log] = pulse;
    if (pulse.isSilent) this.#spokeAgain.push(this.#describe(log, pulse));
    pulse.isSilent = false;
    pulse.quietMs = 0;
    pulse.lastMs = nowMs;
    const hour = Math.floor(nowMs / hourMs);
    const place = hour % 24;
    if (pulse.hours[place] !== hour) pulse.entries[place] = 0;
    pulse.hours[place] = hour;
    pulse.entries[place]! += entries;
  }

  #endMinute(nowMs: number, passedMs: number): void {
    const spoke = (feed: number, log: number) => this.#heard[feed]![log]! > this.#atMinute[feed]![log]!;
    const lively = [...this.#heard.keys()].filter((feed) => this.#pulses.some((_, log) => spoke(feed, log)));
    this.#pulses.forEach((pulse, log) => {
      if (pulse === undefined) return;
      // If a lively feed brought nothing of this log, it brought something of another one.
      const isQuiet = !lively.some((feed) => spoke(feed, log));
      if (isQuiet && lively.some((feed) => this.#heard[feed]![log]! > 0)) pulse.quietMs += passedMs;
      this.#judge(log, pulse, nowMs);
    });
    for (const [feed, heard] of this.#heard.entries()) this.#atMinute[feed]!.set(heard);
  }

  #judge(log: number, pulse: Pulse, nowMs: number): void {
    const entries = entriesOf(pulse);
    const isLong =
      entries >= minEntries && pulse.quietMs >= Math.max(minSilenceMs, (silentGaps * dayMs) / entries);
    const isSilent = isLong && !this.#isLetOff(this.#logs.urlOf(log), nowMs);
    if (isSilent && !pulse.isSilent) this.#fellSilent.push(this.#describe(log, pulse));
    pulse.isSilent = isSilent;
  }

  #describe(log: number, pulse: Pulse): SilentLog {
    return { logUrl: this.#logs.urlOf(log), lastMs: pulse.lastMs, entries: entriesOf(pulse) };
  }

  #forget(log: number): void {
    this.#pulses[log] = undefined;
    for (const [feed, heard] of this.#heard.entries()) {
      heard[log] = 0;
      this.#seen[feed]![log] = 0;
      this.#atMinute[feed]![log] = 0;
    }
  }
}

function newPulse(): Pulse {
  return { lastMs: 0, entries: new Uint32Array(24), hours: new Int32Array(24), quietMs: 0, isSilent: false };
}

/** Returns the entries of the 24 hours that ended with the log's last entry. */
function entriesOf({ lastMs, entries, hours }: Pulse): number {
  const lastHour = Math.floor(lastMs / hourMs);
  return entries.reduce((sum, count, place) => sum + (hours[place]! > lastHour - 24 ? count : 0), 0);
}

/** A year, perhaps with its half, in the URL of a shard: `argon2026h1`, `nimbus2026`. */
const shardYear = /(?<!\d)(20\d\d)(?:h([12]))?(?!\d)/gi;

/** Whether the time in the URL of a shard ends within 21 days or has ended. False if there is none in the URL. */
export function endsSoon(logUrl: string, nowMs: number): boolean {
  const last = [...logUrl.matchAll(shardYear)].at(-1);
  if (last === undefined) return false;
  const year = Number(last[1]);
  const endMs = last[2] === "1" ? Date.UTC(year, 6) : Date.UTC(year + 1, 0);
  return endMs - nowMs <= shardEndMs;
}
