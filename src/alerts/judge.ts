import { errorKind, isRuleOfTable } from "../db/errors.ts";
import type { Database } from "../db/pool.ts";
import type { PendingCertificate } from "../issuance/pending.ts";
import type { Logger } from "../log.ts";
import { Loop } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import type { Deliverer } from "./deliver.ts";
import { FirstLooks } from "./first-looks.ts";
import { InventoryLooks } from "./inventory-looks.ts";
import { reportJudged } from "./judge-report.ts";
import { NextLook } from "./next-look.ts";
import type { Judgement, Verdict } from "./outbox.ts";
import { dueCertificates, largeDueCertificates, millisecondsToNextDue } from "./sql/due-certificates.ts";
import { isLostRace, judgeCertificates } from "./sql/judge-certificates.ts";

const batchSize = 500;
/** How often to look for certificates that another replica recorded and, being dead, does not judge. */
const pollMs = 5_000;
/** How often to look for large certificates while small ones fill every batch: the look walks over many small ones. */
const largeLookMs = 5_000;
/** How many certificates are left alone at once. Above that, the others are tried again at each look. */
const maxLeftAlone = 5_000;
/**
 * When to look again at rows that somebody else has locked. Another replica holds them for milliseconds, a person
 * longer.
 */
const lockedMs = 200;
const deadlineMs = 15_000;
/** How many certificates of one issuance are judged before others have their turn, and when the rest has its turn. */
const maxRounds = 20;
const crowdedMs = 1_000;
/** How often another replica may be faster before this one backs off. */
const maxConflicts = 5;

export interface JudgeOptions {
  db: Database;
  log: Logger;
  metrics: Metrics;
  graceSeconds: number;
  precertMatch: "serial" | "tbs";
  /** Gets the events; `null` in observer mode. */
  deliverer: Pick<Deliverer, "claimWhile"> | null;
  onError: (error: unknown) => void;
}

/**
 * Judges recorded certificates. One that is in the inventory is judged at once. One that is not is looked up again when
 * its grace is over, and then judged. The grace is in the database, so it outlives this process. A crash anywhere here
 * leaves the certificate pending, for any replica.
 */
export class Judge {
  readonly loop: Loop;
  readonly #options: JudgeOptions;
  readonly #looks: InventoryLooks;
  readonly #firstLooks = new FirstLooks(batchSize);
  /** Says when to ask the database for certificates whose grace is over. */
  readonly #nextLook = new NextLook();
  readonly #nextLargeLook = new NextLook();
  /**
   * Certificates that stay pending though their grace is over, because somebody has locked their rows or the database
   * refuses them: id, and the time until which they are left alone. So they never stand in the way of the others.
   */
  readonly #leftAlone = new Map<number, number>();

  constructor(options: JudgeOptions) {
    this.#options = options;
    this.#looks = new InventoryLooks(options.db, options.precertMatch);
    this.loop = new Loop({ name: "judge", step: () => this.#step(), onError: options.onError });
  }

  /** Takes certificates that were just recorded. Those in the inventory are judged without waiting for their grace. */
  firstLook(certificates: PendingCertificate[]): void {
    for (const certificate of certificates) this.#firstLooks.add(certificate);
    this.#nextLook.expectIn(this.#options.graceSeconds * 1000);
    this.loop.wake();
  }

  async #step(): Promise<number> {
    const fresh = this.#firstLooks.nextBatch();
    if (fresh.length > 0) await this.#judge(fresh, { onlyKnown: true });
    if (this.#nextLook.isDue) await this.#judgeDue();
    return this.#firstLooks.size > 0 ? 0 : this.#nextLook.waitMs;
  }

  /**
   * Judges what is due: a batch of small certificates, then a few large ones. So a small one waits for a few large ones
   * at most, however many are due.
   */
  async #judgeDue(): Promise<void> {
    const { db } = this.#options;
    const nowMs = performance.now();
    this.#nextLook.begin(pollMs);
    for (const [id, untilMs] of this.#leftAlone) if (untilMs <= nowMs) this.#leftAlone.delete(id);
    const small = await dueCertificates(db, { limit: batchSize, except: this.#leftAloneIds }, deadlineMs);
    await this.#judge(small, { onlyKnown: false });
    let mayBeMore = small.length === batchSize;
    if (!mayBeMore || this.#nextLargeLook.isDue) {
      this.#nextLargeLook.begin(largeLookMs);
      const large = await largeDueCertificates(db, this.#leftAloneIds, deadlineMs);
      await this.#judge(large, { onlyKnown: false });
      mayBeMore ||= large.length > 0;
    }
    const nextMs = mayBeMore ? 0 : await millisecondsToNextDue(db, this.#leftAloneIds, deadlineMs);
    const leftAloneForMs = Math.min(...this.#leftAlone.values()) - performance.now();
    this.#nextLook.expectIn(Math.min(nextMs, leftAloneForMs));
  }

  /**
   * Judges in rounds, since one statement may not have two certificates of the same issuance, excuse or inventory row.
   * After an error it goes on one by one, so that no certificate is held up by another.
   */
  async #judge(certificates: PendingCertificate[], options: { onlyKnown: boolean }): Promise<void> {
    const { onError } = this.#options;
    let rest = certificates;
    let isOneByOne = false;
    let conflictsLeft = maxConflicts;
    for (let round = 0; rest.length > 0; round += 1) {
      if (round >= maxRounds && !isOneByOne) {
        // A flood of certificates of one issuance: others go on meanwhile.
        if (!options.onlyKnown) for (const { id } of rest) this.#leaveAlone(id, crowdedMs);
        return;
      }
      const { verdicts, later } = await this.#looks.round(isOneByOne ? rest.slice(0, 1) : rest, options);
      try {
        const passedOver = await this.#decide(verdicts);
        if (!options.onlyKnown) for (const { id } of passedOver) this.#leaveAlone(id, lockedMs);
        rest = isOneByOne ? rest.slice(1) : later;
      } catch (error) {
        if (isLostRace(error)) {
          // Another replica judged one of these issuances at this moment: look again and find its event.
          if (conflictsLeft === 0) throw error;
          conflictsLeft -= 1;
        } else if (errorKind(error) !== "bad-data" && !isRuleOfTable(error)) {
          throw error;
        } else if (isOneByOne) {
          onError(error);
          if (!options.onlyKnown) this.#leaveAlone(rest[0]!.id, pollMs);
          rest = rest.slice(1);
        }
        isOneByOne = true;
      }
    }
  }

  /**
   * Commits the verdicts. Events go to the deliverer without a statement in between.
   *
   * @returns those that the statement passed over: somebody else has judged or locked them.
   */
  async #decide(verdicts: Verdict[]): Promise<Verdict[]> {
    if (verdicts.length === 0) return [];
    const { db, deliverer } = this.#options;
    const commit = (judgements: Judgement[], leaseSeconds: number) =>
      judgeCertificates(db, judgements, { deliver: deliverer !== null, leaseSeconds, deadlineMs });
    const judged =
      deliverer === null
        ? await commit(
            verdicts.map((verdict) => ({ ...verdict, claim: false })),
            0,
          )
        : await deliverer.claimWhile(verdicts, commit);
    reportJudged(judged, this.#options);
    const judgedIds = new Set(judged.map(({ id }) => id));
    return verdicts.filter(({ id }) => !judgedIds.has(id));
  }

  get #leftAloneIds(): number[] {
    return [...this.#leftAlone.keys()];
  }

  #leaveAlone(id: number, forMs: number): void {
    if (this.#leftAlone.size < maxLeftAlone) this.#leftAlone.set(id, performance.now() + forMs);
  }
}
