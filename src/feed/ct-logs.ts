/** No log: what stands for a log's number where the log is unknown. */
export const noLog = -1;

/** Logs that are told apart; the public log lists name about 150, retired ones included. */
const maxLogs = 256;

/** Spellings of URLs that are remembered; servers write the same log in one or two ways. */
const maxSpellings = 4 * maxLogs;

/** Longest URL of a log. It becomes a metric's label. */
const maxUrlLength = 256;

/**
 * Gives small numbers to CT logs: 0, 1, 2 in order of appearance. Servers spell the URL of one log differently (with
 * scheme or without, with a slash at the end or without); all spellings have the same number. Bounded: a log too many
 * has none, for good.
 */
export class CtLogs {
  readonly #urls: string[] = [];
  readonly #numbers = new Map<string, number>();

  /** The log's number; `noLog` where the URL is empty or too long, or where there are too many logs. */
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

  /** The log's URL without scheme and without a slash at the end, e.g. `oak.ct.letsencrypt.org/2026h1`. */
  urlOf(log: number): string {
    return this.#urls[log] ?? "unknown";
  }
}

const normalized = (url: string): string => url.replace(/^https?:\/\//i, "").replace(/\/+$/, "");
