import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { parseDsn } from "../../../src/db/dsn.ts";
import { type Database, openPool } from "../../../src/db/pool.ts";
import { type CertstreamSimulator, startCertstreamSimulator } from "../../../src/demo/certstream.ts";
import { type Respond, startWebhookReceiver, type WebhookReceiver } from "../../../src/demo/receiver.ts";
import { addWatchEntries } from "../../../src/watchlist/edit.ts";
import { byHand } from "../../support/by-hand.ts";
import { endPrograms, type Program, spawnProgram } from "../../support/program.ts";
import { patienceMs } from "../../support/wait.ts";
import { keepHistory, readHistory } from "./history.ts";
import { type Figures, Ledger } from "./ledger.ts";
import { isShort, type Random, randomOf } from "./seed.ts";
import { entryOf, type Item, issueItems, watched } from "./stock.ts";

/** WEBHOOK_TIMEOUT_S of the programs, and what a lease outlasts it by (src/alerts/deliver.ts). */
const webhookTimeoutSeconds = 5;
const leaseSeconds = webhookTimeoutSeconds + 30;
/** A claim that is older than this, with a receiver that answers at once, is of a process that is dead. */
const deadClaimSeconds = 5;
const pollMs = 100;

export interface BedOptions {
  /** Of a database with the schema; with `--embedded` that of its socket. */
  dsn: string;
  /** For every program, over what the bed gives. */
  env?: NodeJS.ProcessEnv;
  /** The arguments of the programs. */
  args?: string[];
  /** The seed's name. */
  name: string;
}

/** Everything around the programs under test: a feed, a receiver that answers 200, the books, and the programs. */
export class Bed {
  readonly ledger = new Ledger();
  readonly random: Random;
  readonly simulator: CertstreamSimulator;
  readonly receiver: WebhookReceiver;
  /** The test's own way to the database, which upstream systems use too. */
  db: Database;
  readonly programs = new Set<Program>();
  readonly #options: BedOptions;
  #stock: Item[] = [];
  #stockOptions: Parameters<typeof issueItems>[3] = {};

  private constructor(options: BedOptions, ledgerless: Pick<Bed, "simulator" | "receiver" | "db">) {
    this.#options = options;
    this.random = randomOf(options.name);
    this.simulator = ledgerless.simulator;
    this.receiver = ledgerless.receiver;
    this.db = ledgerless.db;
  }

  /** Connects to the database, fills the watch list, and begins the history. */
  static async open(options: BedOptions): Promise<Bed> {
    const receiver = await startWebhookReceiver({ maxDeliveries: 100 });
    // Told apart from the programs' sessions, and able to write while the server is set read-only.
    const own = "application_name=chaos-test&options=-c%20default_transaction_read_only%3Doff";
    const db = openPool(parseDsn(`${options.dsn}${options.dsn.includes("?") ? "&" : "?"}${own}`));
    const parts = { simulator: await startCertstreamSimulator(), receiver, db };
    const bed = new Bed(options, parts);
    bed.answerWith(200);
    return bed;
  }

  /** What the receiver does from now on; what it answers with 2xx goes into the books. */
  answerWith(respond: Respond): void {
    this.receiver.setBehaviour((delivery, count) => {
      const behaviour = typeof respond === "function" ? respond(delivery, count) : respond;
      const status = typeof behaviour === "object" ? behaviour.status : behaviour;
      if (typeof status === "number" && status >= 200 && status < 300) this.ledger.noteAccepted(delivery);
      return behaviour;
    });
  }

  /** Fills the watch list, begins the history, and issues certificates for later. */
  async prepare(items: number, options?: Parameters<typeof issueItems>[3]): Promise<void> {
    await addWatchEntries(this.db, [watched], 10_000);
    await keepHistory(this.db);
    this.#stockOptions = options;
    await this.stockUp(items);
  }

  /** Issues more. Needs the database, for the inventory. */
  async stockUp(items: number, options = this.#stockOptions): Promise<void> {
    this.#stock.push(...(await issueItems(this.db, this.random, items, options)));
  }

  get dsn(): string {
    return this.#options.dsn;
  }

  async pause(ms: number): Promise<void> {
    await sleep(ms);
  }

  /** Certificates that were issued and not sent yet. */
  get stock(): number {
    return this.#stock.length;
  }

  /** Starts a program; resolves when it reads the feed. */
  async start(env: NodeJS.ProcessEnv = {}): Promise<Program> {
    const program = spawnProgram(this.#options.args ?? ["run"], {
      POSTGRES_DSN: this.#options.dsn,
      CERTSTREAM_URL: this.simulator.url,
      WEBHOOK_URL: this.receiver.url,
      WEBHOOK_TIMEOUT_S: String(webhookTimeoutSeconds),
      API_PORT: "0",
      SUSPICIOUS_GRACE_S: "0.5",
      ...this.#options.env,
      ...env,
    });
    this.programs.add(program);
    void program.exited.then(() => this.programs.delete(program));
    await program.waitForLog("connected to the feed");
    return program;
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill(program: Program): Promise<void> {
    program.signal("SIGKILL");
    await program.exited;
    this.ledger.noteKill();
  }

  /** Notes an outage of the database around `work`. */
  async duringOutage<T>(what: string, work: () => Promise<T>): Promise<T> {
    const end = this.ledger.noteOutage(what);
    try {
      return await work();
    } finally {
      end();
    }
  }

  /** Sends all that is to be sent of the next items of the stock, to whoever reads the feed now. */
  async send(count = 1): Promise<Item[]> {
    const items = this.#stock.splice(0, count);
    if (items.length < count) throw new Error("the stock is used up: the test has to prepare more");
    await this.publish(items);
    return items;
  }

  /** Takes items of the stock without sending them to the feed: the test hands them to whom it wants. */
  take(count: number): Item[] {
    const items = this.#stock.splice(0, count);
    for (const item of items) this.ledger.noteSent(item, item.kinds.length);
    return items;
  }

  /** @param log 1: as another log has them. */
  async publish(items: Item[], log = 0): Promise<void> {
    for (const item of items) {
      for (const kind of item.kinds) await this.simulator.publish(entryOf(item, kind, log));
      this.ledger.noteSent(item, item.kinds.length);
    }
  }

  /**
   * Sends single items and small bursts, `meanGapMs` apart on average, for as long as `work` runs; resolves with them.
   * Issues more when the stock is low, while the database is there.
   */
  async sendWhile(work: () => Promise<void>, meanGapMs: number): Promise<Item[]> {
    let isRunning = true;
    const sent: Item[] = [];
    const sending = (async () => {
      while (isRunning) {
        if (this.stock < 20) await this.stockUp(20).catch(() => sleep(pollMs));
        if (this.stock === 0) continue; // until the database is back
        sent.push(...(await this.send(this.random.chance(0.1) ? Math.min(10, this.stock) : 1)));
        await sleep(-Math.log(1 - this.random.next()) * meanGapMs);
      }
    })();
    try {
      await work();
    } finally {
      isRunning = false;
      await sending;
    }
    return sent;
  }

  /** Waits until each of these items is in the database (recorded, or judged and merged). */
  async waitUntilRecorded(items: Item[]): Promise<void> {
    const names = items.map(({ name }) => name);
    await this.waitFor(`${names.length} items to be recorded`, async () => {
      const [row] = await this.db.query<{ missing: string[] }>(
        {
          name: byHand,
          text: `SELECT ARRAY(SELECT name FROM unnest($1::text[]) AS name
                              WHERE NOT EXISTS (SELECT FROM chaos.history h WHERE h.name = name.name)) AS missing`,
          values: [names],
        },
        10_000,
      );
      return row!.missing;
    });
  }

  /** Asks until there is nothing left (or `true`); rejects with what is left when patience is over. */
  async waitFor(what: string, left: () => Promise<unknown[] | boolean>): Promise<void> {
    const endMs = performance.now() + patienceMs;
    for (;;) {
      const answer = await left().catch((error: unknown) => [`(${error})`]);
      if (answer === true || (Array.isArray(answer) && answer.length === 0)) return;
      if (performance.now() > endMs) {
        const examples = Array.isArray(answer)
          ? `${answer.length} left: ${answer.slice(0, 5).join(", ")}`
          : "";
        const logs = [...this.programs].map(({ output }) => output.slice(-3_000)).join("\n---\n");
        throw new Error(`waited in vain for ${what}; ${examples}\n${logs}`);
      }
      await sleep(pollMs);
    }
  }

  /**
   * Waits until there is no work left in the database. In the short form, leases of the dead are ended by the test;
   * in the long one it waits for them.
   */
  async settle(): Promise<void> {
    let nextForwardMs = performance.now() + deadClaimSeconds * 1000;
    await this.waitFor("everything to be judged and delivered", async () => {
      if (isShort && performance.now() >= nextForwardMs) {
        await this.forwardLeases();
        nextForwardMs = performance.now() + 1000;
      }
      const rows = await this.db.query<{ id: number; name: string; severity: string; error: string | null }>(
        {
          name: byHand,
          text: `SELECT id, sans ->> 0 AS name, severity, last_error AS error FROM public.alerts
                 WHERE severity = 'pending' OR next_attempt_at IS NOT NULL ORDER BY id`,
        },
        10_000,
      );
      return rows.map((row) => JSON.stringify(row));
    });
  }

  /** Lets the leases of claims end that are so old that their process must be dead. */
  async forwardLeases(): Promise<void> {
    const count = await this.db.execute(
      {
        name: byHand,
        text: `UPDATE public.alerts SET lease_until = now()
               WHERE lease_until > now() AND lease_until < now() + $1::float8 * interval '1 second'`,
        values: [leaseSeconds - deadClaimSeconds],
      },
      10_000,
    );
    if (count > 0) this.ledger.noteForwarded();
  }

  /**
   * Closes the books when everything is settled: fails unless the promise was kept, and prints the figures.
   *
   * @param title of the test, for the printed line.
   */
  async audit(
    title: string,
    options: { isPruned?: boolean } = {},
  ): Promise<Figures & { unrecorded: Item[] }> {
    const history = await readHistory(this.db);
    const figures = this.ledger.figures(history);
    const text = Object.entries(figures).map(([name, value]) => `${name} ${value}`);
    process.stderr.write(`LEDGER ${title}: ${text.join(", ")}, read ${await this.#messagesRead()}\n`);
    expect(this.ledger.violations(history, { ...options, leaseMs: leaseSeconds * 1000 })).toEqual([]);
    return { ...figures, unrecorded: this.ledger.unrecorded(history) };
  }

  /** Of the programs that are alive. */
  async #messagesRead(): Promise<string> {
    const read = [...this.programs].map(async (program) => {
      const metrics = await program.metrics().catch(() => new Map<string, number>());
      return metrics.get('certwatch_ct_messages_total{type="certificate_update"}') ?? 0;
    });
    return (await Promise.all(read)).join("+") || "-";
  }

  async close(): Promise<void> {
    await endPrograms();
    await this.simulator.close();
    await this.receiver.close();
    await this.db.end();
  }
}
