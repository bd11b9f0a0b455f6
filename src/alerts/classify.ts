import { dueCertificates, millisecondsToNextDue, type PendingCertificate } from "../db/due-certificates.ts";
import { sqlState } from "../db/errors.ts";
import { type JudgedCertificate, judgeCertificates, type Verdict } from "../db/judge-certificates.ts";
import type { Database } from "../db/pool.ts";
import { type MatchBasis, matchInventory } from "../issuance/inventory.ts";
import type { Logger } from "../log.ts";
import { Loop } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import { verdictOf } from "./verdict.ts";

const batchSize = 500;
/** First looks are a short cut: what does not fit is judged when its grace is over. */
const maxFirstLooks = 10_000;
/** How often to look for what another replica recorded and did not live to judge. */
const pollMs = 5_000;
const deadlineMs = 15_000;
const uniqueViolation = "23505";

export interface ClassifierOptions {
  db: Database;
  log: Logger;
  metrics: Metrics;
  graceSeconds: number;
  /** False in observer mode. */
  deliver: boolean;
  /** Called after events were committed. */
  onEvents: () => void;
  onError: (error: unknown) => void;
}

/**
 * Judges recorded certificates: one that is in the inventory at once, one that is not when its grace is over and it
 * still is not. The grace is in the database, so it outlives this process; a crash anywhere here leaves the
 * certificate pending, for any replica.
 */
export class Classifier {
  readonly loop: Loop;
  readonly #options: ClassifierOptions;
  #firstLooks: PendingCertificate[] = [];
  /** When to ask the database for certificates whose grace is over, by this process's monotonic clock. */
  #nextDueMs = 0;

  constructor(options: ClassifierOptions) {
    this.#options = options;
    this.loop = new Loop({ name: "classifier", step: () => this.#step(), onError: options.onError });
  }

  /** Takes certificates that were just recorded, to recognise the known ones at once. */
  firstLook(certificates: PendingCertificate[]): void {
    this.#firstLooks.push(...certificates.slice(0, maxFirstLooks - this.#firstLooks.length));
    this.#nextDueMs = Math.min(this.#nextDueMs, performance.now() + this.#options.graceSeconds * 1000);
    this.loop.wake();
  }

  async #step(): Promise<number> {
    const fresh = this.#firstLooks.splice(0, batchSize);
    if (fresh.length > 0) {
      const bases = await matchInventory(this.#options.db, fresh, deadlineMs);
      await this.#judge(
        fresh.filter(({ id }) => bases.get(id) !== "none"),
        bases,
      );
    }
    if (performance.now() >= this.#nextDueMs) await this.#judgeDue();
    return this.#firstLooks.length > 0 ? 0 : this.#nextDueMs - performance.now();
  }

  async #judgeDue(): Promise<void> {
    const { db } = this.#options;
    // Read before the question, so that a certificate recorded meanwhile can only bring the next look forward.
    this.#nextDueMs = performance.now() + pollMs;
    const due = await dueCertificates(db, batchSize, deadlineMs);
    const bases = await matchInventory(db, due, deadlineMs);
    await this.#judge(due, bases);
    const nextMs = due.length === batchSize ? 0 : await millisecondsToNextDue(db, deadlineMs);
    this.#nextDueMs = Math.min(this.#nextDueMs, performance.now() + nextMs);
  }

  /** Judges in rounds: one statement never has two certificates of the same issuance. */
  async #judge(certificates: PendingCertificate[], bases: Map<number, MatchBasis>): Promise<void> {
    let rest = certificates;
    while (rest.length > 0) {
      const round = new Map<string, PendingCertificate>();
      const later: PendingCertificate[] = [];
      for (const certificate of rest) {
        if (round.has(certificate.issuanceId)) later.push(certificate);
        else round.set(certificate.issuanceId, certificate);
      }
      await this.#judgeRound(
        [...round.values()].map((certificate) => verdictOf(certificate, bases.get(certificate.id)!)),
      );
      rest = later;
    }
  }

  async #judgeRound(verdicts: Verdict[]): Promise<void> {
    const { db, deliver } = this.#options;
    for (let attempt = 1; ; attempt += 1) {
      try {
        this.#report(await judgeCertificates(db, verdicts, { deliver, deadlineMs }));
        return;
      } catch (error) {
        // Another replica judged one of these issuances at this moment: look again and find its event.
        if (sqlState(error) !== uniqueViolation || attempt === 5) throw error;
      }
    }
  }

  #report(judged: JudgedCertificate[]): void {
    const { log, metrics } = this.#options;
    for (const { isEvent, ...alert } of judged) {
      if (!isEvent) {
        metrics.alertsMerged.inc();
        log.debug({ alert }, "merged into the event of its issuance");
        continue;
      }
      metrics.alerts.inc({ severity: alert.severity });
      if (alert.severity === "suspicious") log.warn({ alert }, "SUSPICIOUS certificate for a watched name");
      else log.info({ alert }, "known certificate for a watched name");
    }
    if (judged.some(({ isEvent }) => isEvent)) this.#options.onEvents();
  }
}
