import { pino } from "pino";
import { Deliverer } from "../../src/alerts/deliver.ts";
import { Judge } from "../../src/alerts/judge.ts";
import type { Patience } from "../../src/alerts/patience.ts";
import { Recorder, type RecorderOptions } from "../../src/alerts/record.ts";
import { WebhookSender } from "../../src/alerts/webhook.ts";
import { parseDsn } from "../../src/db/dsn.ts";
import { type Database, openPool, type SessionPool } from "../../src/db/pool.ts";
import type { CertUpdate } from "../../src/feed/message.ts";
import type { PendingCertificate } from "../../src/issuance/pending.ts";
import type { Loop } from "../../src/loop.ts";
import { createMetrics } from "../../src/metrics.ts";
import { byHand } from "./by-hand.ts";
import type { DatabaseSource } from "./postgres.ts";
import { matchOf, matchOfNames } from "./updates.ts";
import { patienceMs } from "./wait.ts";

/** One line of the log. */
export type LogLine = { level: number; msg: string } & Record<string, unknown>;

/** An event, or a certificate that is not judged yet, as it stands in the table. */
export interface AlertRow {
  id: number;
  severity: "pending" | "info" | "suspicious";
  match_basis: string | null;
  reason: string | null;
  fingerprint: string;
  sans: string[];
  delivered: boolean;
  attempts: number;
  expired_claims: number;
  excused_by: string | null;
  last_error: string | null;
  merged_keys: string[] | null;
  /** Whether it is to be delivered at some time. */
  is_due: boolean;
  is_given_up: boolean;
  is_leased: boolean;
}

interface JudgeOptions {
  precertMatch?: "serial" | "tbs";
  deliver?: boolean;
  /** Gets the events; without one they wait, due, as where all places are taken. */
  deliverer?: Deliverer;
  /** Certificates to look at before their grace is over. */
  firstLook?: PendingCertificate[];
}

interface DeliverOptions {
  timeoutSeconds?: number;
  maxAttempts?: number;
  secret?: string;
  authorization?: string | null;
  patience?: Patience;
}

/**
 * A replica of the service without feed: its stages, run one step at a time against a real database. What a stage
 * reports as an error is in `errors`, what it logs in `lines`.
 */
export class Replica {
  db: Database;
  readonly #pool: SessionPool;
  readonly metrics = createMetrics({ version: "test", feeds: [] });
  readonly lines: LogLine[] = [];
  readonly errors: unknown[] = [];
  /** What was recorded anew. */
  readonly recorded: PendingCertificate[] = [];
  readonly log = pino({ level: "debug" }, { write: (line) => void this.lines.push(JSON.parse(line)) });
  readonly onError = (error: unknown): void => void this.errors.push(error);

  constructor(dsn: string) {
    this.#pool = openPool(parseDsn(dsn, {}));
    this.db = this.#pool;
  }

  recorder(options: Partial<RecorderOptions> = {}): Recorder {
    return new Recorder({
      ...this,
      graceSeconds: 0,
      deliver: true,
      match: matchOfNames,
      lostSessions: () => this.#pool.lostSessions,
      onRecorded: (certificates) => void this.recorded.push(...certificates),
      ...options,
    });
  }

  /** Records, by a recorder without memory. Returns how many were lost. */
  async record(updates: CertUpdate[], options: Partial<RecorderOptions> = {}): Promise<number> {
    const recorder = this.recorder(options);
    for (const update of updates) recorder.add(update, matchOf(update));
    return await recorder.drain(patienceMs);
  }

  newJudge({ precertMatch = "serial", deliver = true, deliverer }: JudgeOptions = {}): Judge {
    return new Judge({
      ...this,
      graceSeconds: 0,
      precertMatch,
      deliverer: deliver ? (deliverer ?? withoutPlaces) : null,
    });
  }

  /** One step of a new judge: the first looks, then what is due. */
  async judge({ firstLook = [], ...options }: JudgeOptions = {}): Promise<void> {
    const judge = this.newJudge(options);
    if (firstLook.length > 0) judge.firstLook(firstLook);
    await oneStep(judge.loop);
  }

  /** Records each of these and judges it before the next. Returns all rows. */
  async process(updates: CertUpdate[], options: JudgeOptions = {}): Promise<AlertRow[]> {
    for (const update of updates) {
      await this.record([update], { deliver: options.deliver ?? true });
      await this.judge(options);
    }
    return await this.rows();
  }

  deliverer(url: string, options: DeliverOptions = {}): { deliverer: Deliverer; sender: WebhookSender } {
    const { timeoutSeconds = 10, maxAttempts = 3, secret, authorization = null, patience } = options;
    const config = { url, timeoutSeconds, maxAttempts, secrets: secret ? [secret] : [], authorization };
    const sender = new WebhookSender(config, { version: "1.2.3", connections: 32 });
    const delivererOptions = { ...this, sender, timeoutSeconds, maxAttempts };
    return { sender, deliverer: new Deliverer({ ...delivererOptions, ...(patience && { patience }) }) };
  }

  /** One round of claims by a new deliverer, each attempt to its end, and the outcomes written down. */
  async deliver(url: string, options: DeliverOptions = {}): Promise<void> {
    const { deliverer, sender } = this.deliverer(url, options);
    deliverer.settling.start();
    await oneStep(deliverer.claiming);
    await deliverer.stop(patienceMs);
    await sender.close();
  }

  async query<Row>(text: string, values: unknown[] = []): Promise<Row[]> {
    return await this.db.query<Row>({ name: byHand, text, values }, patienceMs);
  }

  /** The one value that the statement selects. */
  async value<T>(text: string, values: unknown[] = []): Promise<T> {
    return Object.values((await this.query<Record<string, T>>(text, values))[0]!)[0]!;
  }

  async rows(): Promise<AlertRow[]> {
    return await this.query<AlertRow>(
      `SELECT id, severity, match_basis, reason, fingerprint, sans, delivered, attempts, expired_claims, excused_by,
              last_error, merged_keys, next_attempt_at IS NOT NULL AS is_due, given_up_at IS NOT NULL AS is_given_up,
              lease_until IS NOT NULL AS is_leased
       FROM public.alerts ORDER BY id`,
    );
  }

  /** Severity and basis of each row, in the order of recording: `["info serial", "suspicious none"]`. */
  async verdicts(): Promise<string[]> {
    return (await this.rows()).map((row) => [row.severity, row.match_basis ?? ""].join(" ").trim());
  }

  /** The value of a counter or gauge. */
  async metric(name: string, labels: Record<string, string> = {}): Promise<number> {
    const { values } = await this.metrics.registry.getSingleMetric(`certwatch_${name}`)!.get();
    return values.find((one) => Object.entries(labels).every(([key, value]) => one.labels[key] === value))!
      .value;
  }

  logged(msg: string): LogLine[] {
    return this.lines.filter((line) => line.msg.includes(msg));
  }

  async emptyTables(): Promise<void> {
    await this.query("TRUNCATE public.alerts, public.certs, public.intent_current RESTART IDENTITY");
  }
}

/** Two replicas, on a database of their own. `close` also closes the server that `open` opened. */
export async function openReplicas(open: () => Promise<DatabaseSource>) {
  const source = await open();
  const dsn = await source.createDatabase();
  const [replica, other] = [new Replica(dsn), new Replica(dsn)];
  const close = async () => {
    for (const { db } of [replica, other]) await db.end();
    await source.close();
  };
  return { replica, other, close };
}

/** Empties the tables, and makes the replicas forget what they reported and logged. */
export async function startAfresh(...replicas: [Replica, ...Replica[]]): Promise<void> {
  await replicas[0].emptyTables();
  for (const { errors, lines, recorded } of replicas) {
    for (const kept of [errors, lines, recorded]) kept.length = 0;
  }
}

/** The keys of the certificates that were merged into the event, without the other keys that these go by. */
export const mergedCertificates = ({ merged_keys: keys }: AlertRow): string[] =>
  (keys ?? []).filter((key) => /^(der|issuance):/.test(key));

/** A deliverer that has no place free: events are committed unclaimed. */
const withoutPlaces: Pick<Deliverer, "claimWhile"> = {
  claimWhile: (verdicts, judge) =>
    judge(
      verdicts.map((verdict) => ({ ...verdict, claim: false })),
      40,
    ),
};

/** The first step of a loop that was not started yet, to its end. */
export async function oneStep(loop: Loop): Promise<void> {
  loop.start();
  await loop.stop();
}

/** The methods of a database, bound, to replace one of them. */
export function delegate(db: Database): Database {
  return {
    query: (sql, ms) => db.query(sql, ms),
    execute: (sql, ms) => db.execute(sql, ms),
    transaction: (ms, work) => db.transaction(ms, work),
    end: () => db.end(),
  };
}
