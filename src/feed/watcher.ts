import { type Logger, lossLog, RateLimitedLog } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { type Match, matchNames, type WatchList } from "../watchlist/matcher.ts";
import { CtLogs } from "./ct-logs.ts";
import { FeedOrigins } from "./feed-origins.ts";
import { GapAccounting } from "./gaps.ts";
import { jsonTexts } from "./json-texts.ts";
import { LogPulse } from "./log-pulse.ts";
import { type CertUpdate, type FeedMessage, parseMessage } from "./message.ts";
import { canSkip } from "./prefilter.ts";

/** One of every 4096 messages that match nothing is parsed anyway, to measure the delay of the CT logs. */
const sampleEvery = 4096;

export interface WatcherOptions {
  /** The names of the feeds in logs. */
  feeds: readonly string[];
  watchList: () => WatchList;
  onMatch: (update: CertUpdate, match: Match) => void;
  log: Logger;
  metrics: Metrics;
}

/** Finds the messages about watched names. It runs while the socket is read, so it never awaits and never throws. */
export class Watcher {
  readonly #options: WatcherOptions;
  readonly #quietLog = new RateLimitedLog();
  readonly #logs = new CtLogs();
  readonly #feeds: readonly FeedOrigins[];
  /** Counts the lost entries of all feeds together. The owner of the watcher calls `settle`. */
  readonly gaps = new GapAccounting(this.#logs, performance.now());
  /** Follows what each CT log brings on all feeds. The owner of the watcher calls `step`. */
  readonly pulse: LogPulse;
  #untilSample = 1;

  constructor(options: WatcherOptions) {
    this.#options = options;
    const { log, gaps, metrics } = { ...options, gaps: this.gaps };
    const shared = { log, gaps, logs: this.#logs, counts: metrics.feedCounts };
    this.#feeds = options.feeds.map((name) => new FeedOrigins({ ...shared, name }));
    const heard = this.#feeds.map((feed) => feed.heard);
    this.pulse = new LogPulse(this.#logs, heard);
  }

  /**
   * Takes one frame as received, from the feed with this place in `feeds`. Returns whether a certificate update was in
   * the frame.
   */
  receive(frame: Buffer, feed: number): boolean {
    try {
      if (!canSkip(frame, this.#options.watchList().table)) return this.#receiveParsed(frame, feed);
      this.#countSkipped(frame, feed);
      return true;
    } catch (error) {
      return this.#keep(frame, error);
    }
  }

  /** A mistake in certwatch: the message was not matched, but a log line keeps its bytes, and reading goes on. */
  #keep(message: Buffer, error: unknown): false {
    this.#options.metrics.feedCounts.refused.internal_error += 1;
    const log = lossLog(this.#options.log);
    log.error({ err: error, message: message.toString("base64") }, "a message could not be processed");
    return false;
  }

  #countSkipped(message: Buffer, feed: number): void {
    const { feedCounts } = this.#options.metrics;
    feedCounts.messages.certificate_update += 1;
    feedCounts.lastCertificateUpdateMs = Date.now();
    this.#feeds[feed]!.note(message);
    this.#untilSample -= 1;
    if (this.#untilSample > 0) return;
    this.#untilSample = sampleEvery;
    const sample = parseMessage(message);
    if (sample.type === "certificate_update") this.#observeDelay(sample.update);
  }

  /** If the frame is not one JSON text, each JSON text in it is a message of its own. */
  #receiveParsed(frame: Buffer, feed: number): boolean {
    const whole = parseMessage(frame);
    if (whole.type !== "refused" || whole.reason !== "not_json") return this.#take(frame, feed, whole);
    let isEmpty = true;
    let hasUpdate = false;
    for (const text of jsonTexts(frame)) {
      isEmpty = false;
      try {
        if (this.#take(text, feed, parseMessage(text))) hasUpdate = true;
      } catch (error) {
        this.#keep(text, error);
      }
    }
    return isEmpty ? this.#take(frame, feed, whole) : hasUpdate;
  }

  #take(message: Buffer, feed: number, parsed: FeedMessage): boolean {
    const { metrics, log } = this.#options;
    const { feedCounts } = metrics;
    if (parsed.type === "refused") {
      feedCounts.refused[parsed.reason] += 1;
      this.#quietLog.once(parsed.reason, (suppressed) => {
        log.warn(
          { reason: parsed.reason, starts_with: parsed.detail, suppressed },
          "a message could not be understood",
        );
      });
      return false;
    }
    feedCounts.messages[parsed.type] += 1;
    if (parsed.type === "dns_entries") this.#explainDomainsOnly();
    if (parsed.type !== "certificate_update") return false;
    feedCounts.lastCertificateUpdateMs = Date.now();
    this.#feeds[feed]!.note(message);
    this.#observeDelay(parsed.update);
    const match = matchNames(parsed.update.allDomains, this.#options.watchList());
    if (match !== null) this.#options.onMatch(parsed.update, match);
    return true;
  }

  #observeDelay({ sourceTimestampEpochSeconds }: CertUpdate): void {
    if (sourceTimestampEpochSeconds === null) return;
    this.#options.metrics.eventDelay.observe(Math.max(Date.now() / 1000 - sourceTimestampEpochSeconds, 0));
  }

  #explainDomainsOnly(): void {
    this.#quietLog.once("dns_entries", () => {
      this.#options.log.error(
        "this feed has domain names only, without certificates: nothing on it can be judged. Use the endpoint /full-stream or / of the server in CERTSTREAM_URL",
      );
    });
  }
}
