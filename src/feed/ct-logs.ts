/** Stands for the number of a log that has none: its URL is empty or too long. */
export const noLog = -1;
/** Stands for the number of a log that could not be read from a message. */
export const unreadable = -2;

/** The greatest number of logs that have a number. The public log lists name about 150, retired logs included. */
export const maxLogs = 256;

/** The logs with smaller numbers have a metric label of their own; the other logs share the label `other`. */
export const maxLabels = 128;

/** How many spellings of one log's URL are remembered; servers spell it in one or two ways. */
const maxSpellings = 4;

/** The longest accepted URL of a log, characters. The URL becomes a metric's label. */
const maxUrlLength = 256;

/** A log gets a label from a weaker one only if it spoke that often, faded by half each hour, and twice as often. */
const minStrengthForLabel = 100;
/** The greatest number of labels that change hands at once, so that nobody can make Prometheus store endless series. */
const maxPromotions = 10;

interface Place {
  /** Without scheme, and without a slash at the end. */
  readonly url: string;
  readonly spellings: string[];
}

/**
 * Gives small numbers to CT logs: 0, 1, 2 in order of appearance. Servers spell the URL of one log differently (with
 * scheme or without, with a slash at the end or without); all spellings get the same number.
 *
 * Numbers are never used up, so that a server that invents URLs takes no place for good. If all are taken, a new log
 * gets the number of the log without a label that was heard least. `promote` gives the labels of logs that were heard
 * little to logs that are heard often.
 */
export class CtLogs {
  /** For each number, how many messages were heard, halved every hour. Whoever reads messages counts here. */
  readonly strengths = new Float64Array(maxLogs);
  /** Changes whenever a number goes to another log. */
  generation = 0;
  readonly #places: Place[] = [];
  readonly #numbers = new Map<string, number>();
  readonly #listeners: ((log: number) => void)[] = [];

  /** Returns the log's number; `noLog` if the URL is empty or too long. */
  numberOf(url: string): number {
    const known = this.#numbers.get(url);
    if (known !== undefined) return known;
    const normal = normalized(url);
    if (normal === "" || url.length > maxUrlLength) return noLog;
    const log = this.#numbers.get(normal) ?? this.#newNumber(normal);
    const { spellings } = this.#places[log]!;
    if (spellings.length < maxSpellings && !spellings.includes(url)) {
      spellings.push(url);
      this.#numbers.set(url, log);
    }
    return log;
  }

  /** Returns the log's URL without scheme and without a slash at the end, e.g. `oak.ct.letsencrypt.org/2026h1`. */
  urlOf(log: number): string {
    return this.#places[log]?.url ?? "unknown";
  }

  /** Returns how many numbers are in use: the logs are those from 0 to one less. */
  get size(): number {
    return this.#places.length;
  }

  /** Registers a function to be called when a number goes to another log: what was kept about it is of the old one. */
  onReplaced(listener: (log: number) => void): void {
    this.#listeners.push(listener);
  }

  /** Makes what was heard long ago count less. To be called once an hour. */
  fade(): void {
    for (let log = 0; log < maxLogs; log++) this.strengths[log]! /= 2;
  }

  /** Gives labels of logs that are heard little to logs that are heard often. To be called about once a minute. */
  promote(): void {
    for (let i = 0; i < maxPromotions && this.#places.length > maxLabels; i++) {
      const weakest = this.#weakest(0, maxLabels);
      let strongest = maxLabels;
      for (let log = maxLabels; log < this.#places.length; log++)
        if (this.strengths[log]! > this.strengths[strongest]!) strongest = log;
      const strength = this.strengths[strongest]!;
      if (strength < minStrengthForLabel || strength < 2 * this.strengths[weakest]!) return;
      this.#exchange(weakest, strongest);
    }
  }

  #newNumber(url: string): number {
    const log = this.#places.length < maxLogs ? this.#places.length : this.#weakest(maxLabels, maxLogs);
    const before = this.#places[log];
    for (const spelling of before?.spellings ?? []) this.#numbers.delete(spelling);
    this.#put(log, { url, spellings: [url] }, 0);
    if (before !== undefined) this.#tell(log);
    return log;
  }

  #weakest(from: number, end: number): number {
    let weakest = from;
    for (let log = from; log < end; log++) if (this.strengths[log]! < this.strengths[weakest]!) weakest = log;
    return weakest;
  }

  #exchange(one: number, other: number): void {
    const [placeOfOne, strengthOfOne] = [this.#places[one]!, this.strengths[one]!];
    this.#put(one, this.#places[other]!, this.strengths[other]!);
    this.#put(other, placeOfOne, strengthOfOne);
    this.#tell(one);
    this.#tell(other);
  }

  #put(log: number, place: Place, strength: number): void {
    this.#places[log] = place;
    this.strengths[log] = strength;
    for (const spelling of place.spellings) this.#numbers.set(spelling, log);
  }

  #tell(log: number): void {
    this.generation += 1;
    for (const listener of this.#listeners) listener(log);
  }
}

const normalized = (url: string): string => url.replace(/^https?:\/\//i, "").replace(/\/+$/, "");
