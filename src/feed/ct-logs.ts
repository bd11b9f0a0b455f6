/** Stands for the number of a log that has none: its URL is empty or too long, or there are too many logs. */
export const noLog = -1;
/** Stands for the number of a log that could not be read from a message. */
export const unreadable = -2;

/** The greatest number of logs that get a number. The public log lists name about 150, retired logs included. */
const maxLogs = 256;

/** The greatest number of URL spellings that are remembered; servers spell the URL of one log in one or two ways. */
const maxSpellings = 4 * maxLogs;

/** The longest accepted URL of a log, characters. The URL becomes a metric's label. */
const maxUrlLength = 256;

/**
 * Gives small numbers to CT logs: 0, 1, 2 in order of appearance. Servers spell the URL of one log differently (with
 * scheme or without, with a slash at the end or without); all spellings get the same number. After `maxLogs` logs no
 * further log gets a number.
 */
export class CtLogs {
  readonly #urls: string[] = [];
  readonly #numbers = new Map<string, number>();

  /** Returns the log's number; `noLog` if the URL is empty or too long, or if there are too many logs. */
  numberOf(url: string): number {
    const known = this.#numbers.get(url);
    if (known !== undefined) return known;
    const normal = normalized(url);
    if (normal === "" || url.length > maxUrlLength) return noLog;
    let log = this.#urls.indexOf(normal);
    if (log === -1) {
      if (this.#urls.length === maxLogs) return noLog;
      log = this.#urls.push(normal) - 1;
    }
    if (this.#numbers.size < maxSpellings) this.#numbers.set(url, log);
    return log;
  }

  /** Returns the log's URL without scheme and without a slash at the end, e.g. `oak.ct.letsencrypt.org/2026h1`. */
  urlOf(log: number): string {
    return this.#urls[log] ?? "unknown";
  }
}

const normalized = (url: string): string => url.replace(/^https?:\/\//i, "").replace(/\/+$/, "");
