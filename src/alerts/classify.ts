import { dueCertificates, millisecondsToNextDue, type PendingCertificate } from "../db/due-certificates.ts";
import { sqlState } from "../db/errors.ts";
import { type JudgedCertificate, judgeCertificates, type Verdict } from "../db/judge-certificates.ts";
import type { Database } from "../db/pool.ts";
import { Inventory } from "../issuance/inventory.ts";
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
/** Lost against another replica: unique violation, deadlock. */
const conflicts = ["23505", "40P01"];
/** How often to lose against another replica before backing off. */
const maxConflicts = 5;

export interface ClassifierOptions {
  db: Database;
  log: Logger;
  metrics: Metrics;
  graceSeconds: number;
  precertMatch: "serial" | "tbs";
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
  readonly #inventory: Inventory;
  #firstLooks: PendingCertificate[] = [];
  /** When to ask the database for certificates whose grace is over, by this process's monotonic clock. */
  #nextDueMs = 0;

  constructor(options: ClassifierOptions) {
    this.#options = options;
    this.#inventory = new Inventory(options.db, options.precertMatch);
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
    if (fresh.length > 0) await this.#judge(fresh, { onlyKnown: true });
    if (performance.now() >= this.#nextDueMs) await this.#judgeDue();
    return this.#firstLooks.length > 0 ? 0 : this.#nextDueMs - performance.now();
  }

  async #judgeDue(): Promise<void> {
    const { db } = this.#options;
    // Read before the question, so that a certificate recorded meanwhile can only bring the next look forward.
    this.#nextDueMs = performance.now() + pollMs;
    const due = await dueCertificates(db, batchSize, deadlineMs);
    await this.#judge(due, { onlyKnown: false });
    const nextMs = due.length === batchSize ? 0 : await millisecondsToNextDue(db, deadlineMs);
    this.#nextDueMs = Math.min(this.#nextDueMs, performance.now() + nextMs);
  }

  /** Judges in rounds: one statement never has two certificates of the same issuance or inventory row. */
  async #judge(certificates: PendingCertificate[], options: { onlyKnown: boolean }): Promise<void> {
    let rest = certificates;
    for (let round = 1; rest.length > 0; round += 1) {
      const { verdicts, later } = await this.#lookUp(rest, options);
      try {
        const { db, deliver } = this.#options;
        this.#report(
          verdicts.length === 0 ? [] : await judgeCertificates(db, verdicts, { deliver, deadlineMs }),
        );
        rest = later;
      } catch (error) {
        // Another replica judged one of these issuances at this moment: look again and find its event.
        if (!conflicts.includes(sqlState(error) ?? "") || round >= certificates.length + maxConflicts)
          throw error;
      }
    }
  }

  async #lookUp(
    certificates: PendingCertificate[],
    { onlyKnown }: { onlyKnown: boolean },
  ): Promise<{ verdicts: Verdict[]; later: PendingCertificate[] }> {
    const matches = await this.#inventory.match(certificates);
    const claimed = new Set<string>();
    const verdicts: Verdict[] = [];
    const later: PendingCertificate[] = [];
    for (const certificate of certificates) {
      const match = matches.get(certificate.id)!;
      if (onlyKnown && match.basis === "none") continue;
      const claims = [certificate.issuanceId, match.inventoryRow].filter((claim) => claim !== null);
      if (claims.some((claim) => claimed.has(claim))) {
        later.push(certificate);
        continue;
      }
      for (const claim of claims) claimed.add(claim);
      verdicts.push(verdictOf(certificate, match, this.#options.precertMatch));
    }
    return { verdicts, later };
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
