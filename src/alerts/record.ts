import { LRUCache } from "lru-cache";
import { errorKind, errorMessage } from "../db/errors.ts";
import type { Database } from "../db/pool.ts";
import type { CertUpdate } from "../feed/message.ts";
import { identify } from "../issuance/identity.ts";
import type { PendingCertificate } from "../issuance/pending.ts";
import { flushed, type Logger, lossLog } from "../log.ts";
import { Loop, settledWithin } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import type { Match } from "../watchlist/matcher.ts";
import { toRecordedPayload } from "./payload.ts";
import { type CertificateRow, recordCertificates } from "./sql/record-certificates.ts";

const maxWaiting = 100_000;
const maxWaitingBytes = 256 * 1024 * 1024;
const batchSize = 500;
/** Of one statement, so that it ends within its deadline; a certificate that is larger goes alone. */
const maxBatchBytes = 8 * 1024 * 1024;
/** Of what is logged at the end, at a time: its lines, several times as long at worst, must not exceed what may wait. */
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
  /** How many database sessions were lost so far: see `SessionPool`. */
  lostSessions: () => number;
  /** Gets the certificates that were new, after their commit. */
  onRecorded: (certificates: PendingCertificate[]) => void;
  onError: (error: unknown) => void;
}

interface Waiting {
  row: CertificateRow;
  bytes: number;
}

/**
 * The entrance of the outbox: takes matched certificates from the feed without ever making it wait, and commits them
 * in batches. While the database is away they wait in memory, bounded; what overflows is counted and logged whole.
 */
export class Recorder {
  readonly loop: Loop;
  readonly #options: RecorderOptions;
  /** By certificate key: the same certificate waits once. Owned by this class; entries leave after their commit. */
  readonly #waiting = new Map<string, Waiting>();
  #waitingBytes = 0;
  /**
   * Keys of certificates known to be in the database. Entered after the commit, never before; emptied when a session is
   * lost, since the next one may lead to a database without them.
   */
  readonly #recorded = new LRUCache<string, true>({ max: rememberedCertificates });
  #lostSessions = 0;

  constructor(options: RecorderOptions) {
    this.#options = options;
    this.loop = new Loop({ name: "recorder", step: () => this.#recordBatch(), onError: options.onError });
  }

  /** Takes a matched certificate. Returns at once and never throws. */
  add(update: CertUpdate, match: Match): void {
    const { issuanceId, certificateKey, tbsSha256 } = identify(update);
    if (this.#isRecorded(certificateKey) || this.#waiting.has(certificateKey)) return;
    const seenAt = Math.floor(update.seenEpochSeconds ?? Date.now() / 1000);
    const row: CertificateRow = {
      certificate_key: certificateKey,
      issuance_id: issuanceId,
      tbs_sha256: tbsSha256,
      fingerprint: update.fingerprintSha1 ?? "",
      sans: update.allDomains,
      matched: match.entries,
      issuer: update.issuerAggregated ?? update.issuerO ?? update.issuerCn,
      seen_at: seenAt,
      payload: toRecordedPayload(update, match, seenAt),
      last_error: null,
    };
    const bytes = approximateBytes(row);
    if (this.#waiting.size >= maxWaiting || this.#waitingBytes + bytes > maxWaitingBytes) {
      this.#drop(row, "too many matched certificates wait for the database");
      return;
    }
    this.#waiting.set(certificateKey, { row, bytes });
    this.#waitingBytes += bytes;
    this.#options.metrics.alertsWaiting.set(this.#waiting.size);
    this.loop.wake();
  }

  /** Certificates in memory that are not committed yet. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Ends the loop, then commits what still waits, for at most `timeoutMs` in all. What is not known to be written by then
   * is logged whole: also a batch under way, of which nobody will hear whether it was committed.
   *
   * @returns how many certificates were lost to the database.
   */
  async drain(timeoutMs: number): Promise<number> {
    const endMs = performance.now() + timeoutMs;
    await settledWithin(this.loop.stop(), timeoutMs);
    while (this.#waiting.size > 0 && performance.now() < endMs) {
      try {
        await this.#recordBatch(Math.min(deadlineMs, endMs - performance.now()));
      } catch (error) {
        this.#options.onError(error);
        await new Promise((resolve) => setTimeout(resolve, 250));
      }
    }
    const lost = this.#waiting.size;
    await this.#dropWaiting();
    this.#waiting.clear();
    this.#waitingBytes = 0;
    return lost;
  }

  async #dropWaiting(): Promise<void> {
    let unflushedBytes = 0;
    let isRead = true;
    for (const { row, bytes } of this.#waiting.values()) {
      unflushedBytes += bytes;
      if (unflushedBytes > maxUnflushedBytes && isRead) {
        isRead = await flushed(this.#options.log);
        unflushedBytes = bytes;
      }
      this.#drop(row, "not written by the end of the stop");
    }
  }

  async #recordBatch(queryDeadlineMs = deadlineMs): Promise<number> {
    const rows = this.#nextBatch();
    if (rows.length === 0) return Number.POSITIVE_INFINITY;
    try {
      await this.#record(rows, queryDeadlineMs);
    } catch (error) {
      if (errorKind(error) !== "bad-data") throw error;
      await this.#recordOneByOne(rows, queryDeadlineMs);
    }
    return this.#waiting.size > 0 ? 0 : Number.POSITIVE_INFINITY;
  }

  #nextBatch(): CertificateRow[] {
    const rows: CertificateRow[] = [];
    let batchBytes = 0;
    for (const { row, bytes } of this.#waiting.values()) {
      batchBytes += bytes;
      if (rows.length === batchSize || (rows.length > 0 && batchBytes > maxBatchBytes)) break;
      rows.push(row);
    }
    return rows;
  }

  /** One bad row never takes its neighbours along. */
  async #recordOneByOne(rows: CertificateRow[], queryDeadlineMs: number): Promise<void> {
    for (const row of rows) {
      try {
        await this.#record([row], queryDeadlineMs);
      } catch (error) {
        if (errorKind(error) !== "bad-data") throw error;
        await this.#recordStripped(row, error, queryDeadlineMs);
      }
    }
  }

  /** A row that the database refuses for its data is stored with its names alone, and with the reason. */
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
    // Committed. A crash from here on loses nothing: the rows are judged by whoever is alive when their grace is over.
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
    this.#waitingBytes -= this.#waiting.get(certificateKey)?.bytes ?? 0;
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

function toPending(id: number, row: CertificateRow): PendingCertificate {
  const { payload } = row;
  return {
    id,
    issuanceId: row.issuance_id,
    fingerprint: row.fingerprint,
    tbsSha256: row.tbs_sha256,
    sans: row.sans,
    subjectCn: payload.subject_cn ?? null,
    serial: payload.serial ?? null,
    notBefore: payload.not_before ?? null,
    notAfter: payload.not_after ?? null,
    updateType: payload.update_type ?? null,
  };
}

function stripped(row: CertificateRow, reason: string): CertificateRow {
  const ascii = (names: string[]) => names.map((name) => name.replaceAll(/[^\x20-\x7e]/g, "?"));
  const sans = ascii(row.sans);
  const payload = { matched_entries: row.matched, matched_sans: sans, all_sans: sans, seen_at: row.seen_at };
  return { ...row, sans, issuer: null, payload, last_error: `stored with its names only: ${reason}` };
}

/**
 * An upper estimate that costs nothing: two bytes a character, and what V8 needs around them. Measured on Node.js 20, a
 * certificate with one name takes 1.3 kB, with a hundred 7.8 kB.
 */
function approximateBytes(row: CertificateRow): number {
  let bytes = 1_200 + 2 * (row.issuer?.length ?? 0);
  for (const names of [row.sans, row.matched]) for (const name of names) bytes += 2 * name.length + 64;
  for (const value of Object.values(row.payload)) bytes += typeof value === "string" ? 2 * value.length : 0;
  return bytes;
}
