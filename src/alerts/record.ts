import { setTimeout as pause } from "node:timers/promises";
import { LRUCache } from "lru-cache";
import { DeadlineError, errorKind, errorMessage, isRuleOfTable } from "../db/errors.ts";
import type { Database } from "../db/pool.ts";
import type { CertUpdate } from "../feed/message.ts";
import { type Evidence, weigh } from "../issuance/evidence.ts";
import type { PendingCertificate } from "../issuance/pending.ts";
import { flushed, type Logger, lossLog } from "../log.ts";
import { Loop, settledWithin } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import type { Match } from "../watchlist/matcher.ts";
import { stripped, toCertificateRow, toPending } from "./certificate-row.ts";
import { ContradictionReport } from "./contradiction-report.ts";
import type { CertificateRow } from "./outbox.ts";
import { recordCertificates } from "./sql/record-certificates.ts";
import { batchSize, WaitingCertificates } from "./waiting.ts";

/**
 * How much of the certificates a stop logs before it waits for the reader of the log. Their lines can be several times
 * as long, and must fit into the logger's memory.
 */
const maxUnflushedBytes = 2 * 1024 * 1024;
const rememberedCertificates = 2048;
const deadlineMs = 15_000;

export interface RecorderOptions {
  db: Database;
  log: Logger;
  metrics: Metrics;
  graceSeconds: number;
  /** False in observer mode. */
  deliver: boolean;
  /** Which of these names are watched, and by which entries; `null`: none. */
  match: (names: string[]) => Match | null;
  /** How many database sessions were lost so far: see `SessionPool`. */
  lostSessions: () => number;
  /** Gets the certificates that were new, after their commit. */
  onRecorded: (certificates: PendingCertificate[]) => void;
  onError: (error: unknown) => void;
}

/**
 * The entrance of the outbox. It takes matched certificates from the feed, which never waits for it, and commits them
 * in batches. While the database is away they wait in memory, up to a limit; a certificate over the limit is counted as
 * dropped and logged whole.
 */
export class Recorder {
  readonly loop: Loop;
  readonly #options: RecorderOptions;
  /** Owned by this class; certificates leave after their commit. */
  readonly #waiting = new WaitingCertificates();
  /**
   * Keys of certificates that are in the database. A key enters after the commit, never before. When a session is lost,
   * all keys go: the next session may reach a database that lacks the last commits.
   */
  readonly #recorded = new LRUCache<string, true>({ max: rememberedCertificates });
  #lostSessions = 0;
  #batchLimit = batchSize;
  readonly #contradictions: ContradictionReport;

  constructor(options: RecorderOptions) {
    this.#options = options;
    this.#contradictions = new ContradictionReport(options);
    this.loop = new Loop({ name: "recorder", step: () => this.#recordBatch(), onError: options.onError });
  }

  /** Takes a matched certificate. Returns at once and never throws. */
  add(update: CertUpdate, match: Match): void {
    const evidence = weigh(update);
    this.#contradictions.report(update, evidence);
    const row = toCertificateRow(update, evidence, this.#matchOfBoth(update, evidence, match));
    if (this.#isRecorded(row.certificate_key) || this.#waiting.has(row.certificate_key)) return;
    if (!this.#waiting.add(row)) {
      this.#drop(row, "too many matched certificates wait for the database");
      return;
    }
    this.#options.metrics.alertsWaiting.set(this.#waiting.size);
    this.loop.wake();
  }

  /** Names that only the certificate has can match, too. Names that only the JSON has go on matching. */
  #matchOfBoth(received: CertUpdate, { update, contradictions }: Evidence, match: Match): Match {
    if (!contradictions.includes("names")) return match;
    return this.#options.match([...received.allDomains, ...update.allDomains]) ?? match;
  }

  /** How many certificates wait in memory for their commit. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Ends the loop, then commits the certificates that still wait, for at most `timeoutMs` in all. Each one that may not
   * be committed by then is logged whole, those of a batch under way included.
   *
   * @returns how many were logged instead.
   */
  async drain(timeoutMs: number): Promise<number> {
    const endMs = performance.now() + timeoutMs;
    await settledWithin(this.loop.stop(), timeoutMs);
    this.#waiting.endWaits();
    while (this.#waiting.size > 0 && performance.now() < endMs) {
      try {
        const waitMs = await this.#recordBatch(Math.min(deadlineMs, endMs - performance.now()));
        if (this.#waiting.size > 0 && waitMs > 0) await pause(Math.min(waitMs, endMs - performance.now()));
      } catch (error) {
        this.#options.onError(error);
        await pause(250);
      }
    }
    const lost = this.#waiting.size;
    await this.#dropWaiting();
    this.#waiting.clear();
    return lost;
  }

  async #dropWaiting(): Promise<void> {
    let unflushedBytes = 0;
    let isRead = true;
    for (const { row, bytes } of this.#waiting) {
      unflushedBytes += bytes;
      if (unflushedBytes > maxUnflushedBytes && isRead) {
        isRead = await flushed(this.#options.log);
        unflushedBytes = bytes;
      }
      this.#drop(row, "not written by the end of the stop");
    }
  }

  async #recordBatch(queryDeadlineMs = deadlineMs): Promise<number> {
    const rows = this.#waiting.nextBatch(this.#batchLimit);
    if (rows.length === 0) return this.#waiting.waitMs;
    try {
      await this.#record(rows, queryDeadlineMs);
      this.#batchLimit = Math.min(this.#batchLimit * 2, batchSize);
    } catch (error) {
      // A statement that takes too long would take too long again: the next one has fewer rows.
      if (error instanceof DeadlineError) this.#batchLimit = Math.ceil(rows.length / 2);
      if (errorKind(error) !== "bad-data" && !isRuleOfTable(error)) throw error;
      await this.#recordOneByOne(rows, queryDeadlineMs);
    }
    return this.#waiting.waitMs;
  }

  /** For a batch that the database refused: one refused row must not take its neighbours along. */
  async #recordOneByOne(rows: CertificateRow[], queryDeadlineMs: number): Promise<void> {
    for (const row of rows) {
      try {
        await this.#record([row], queryDeadlineMs);
      } catch (error) {
        if (isRuleOfTable(error)) {
          // A rule of the table, not the row's fault. Until somebody mends the table the row is tried again and again.
          this.#options.onError(error);
          this.#waiting.stepAside(row.certificate_key);
        } else if (errorKind(error) === "bad-data") {
          await this.#recordStripped(row, error, queryDeadlineMs);
        } else throw error;
      }
    }
  }

  /** The database refuses this row for its values: it is stored with its names alone, and with the reason. */
  async #recordStripped(row: CertificateRow, refusal: unknown, queryDeadlineMs: number): Promise<void> {
    this.#options.onError(refusal);
    try {
      await this.#record([stripped(row, errorMessage(refusal))], queryDeadlineMs);
    } catch (error) {
      if (errorKind(error) !== "bad-data") throw error;
      this.#forget(row.certificate_key);
      this.#drop(row, `the database refuses it: ${errorMessage(error)}`);
    }
  }

  async #record(rows: CertificateRow[], queryDeadlineMs: number): Promise<void> {
    const { db, graceSeconds, deliver, lostSessions } = this.#options;
    const lostBefore = lostSessions();
    const recorded = await recordCertificates(db, rows, {
      graceSeconds,
      deliver,
      deadlineMs: queryDeadlineMs,
    });
    // Committed. A crash from here on loses nothing: any replica judges the rows when their grace is over.
    const rowOf = new Map(rows.map((row) => [row.certificate_key, row]));
    for (const row of rows) {
      this.#forget(row.certificate_key);
      if (lostSessions() === lostBefore) this.#recorded.set(row.certificate_key, true);
    }
    this.#options.metrics.dedupeCacheSize.set(this.#recorded.size);
    const certificates = recorded.map(({ id, certificateKey }) => toPending(id, rowOf.get(certificateKey)!));
    if (certificates.length > 0) this.#options.onRecorded(certificates);
  }

  #isRecorded(certificateKey: string): boolean {
    const lostSessions = this.#options.lostSessions();
    if (lostSessions !== this.#lostSessions) {
      this.#lostSessions = lostSessions;
      this.#recorded.clear();
      this.#options.metrics.dedupeCacheSize.set(0);
    }
    return this.#recorded.get(certificateKey) !== undefined;
  }

  #forget(certificateKey: string): void {
    this.#waiting.delete(certificateKey);
    this.#options.metrics.alertsWaiting.set(this.#waiting.size);
  }

  #drop(row: CertificateRow, reason: string): void {
    this.#options.metrics.alertsDropped.inc();
    const log = lossLog(this.#options.log);
    log.error(
      { dropped: row, reason },
      "a matched certificate could not be recorded: this line has all of it",
    );
  }
}
