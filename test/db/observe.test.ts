import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { parseDsn } from "../../src/db/dsn.ts";
import { observeDatabase } from "../../src/db/observe.ts";
import { type Database, openPool, type SessionPool } from "../../src/db/pool.ts";
import { type ServiceStatement, serviceStatements } from "../../src/db/statement-names.ts";
import { createMetrics } from "../../src/metrics.ts";
import { byHand } from "../support/by-hand.ts";
import { type Cluster, freePort, NO_POSTGRES, startCluster } from "../support/postgres.ts";
import { parseMetrics } from "../support/program.ts";
import { describeIfAvailable } from "../support/skip.ts";

/** An observed pool, and how many errors and measurements there were of the statements that had any. */
class Observed {
  readonly db: Database;
  readonly #metrics = createMetrics({ version: "0", feeds: [] });
  readonly #pool: SessionPool;

  constructor(dsn: string) {
    this.#pool = openPool(parseDsn(dsn, {}), { maxConnections: 1 });
    this.db = observeDatabase(this.#pool, this.#metrics).db;
  }

  async errors(): Promise<Record<string, number>> {
    return await this.#moved(/^certwatch_database_statement_errors_total\{statement="(.*)"\}$/);
  }

  async measured(): Promise<Record<string, number>> {
    return await this.#moved(/^certwatch_database_statement_duration_seconds_count\{statement="(.*)"\}$/);
  }

  async samples(): Promise<Map<string, number>> {
    return parseMetrics(await this.#metrics.render());
  }

  async #moved(series: RegExp): Promise<Record<string, number>> {
    const moved: Record<string, number> = {};
    for (const [name, value] of await this.samples()) {
      const [, statement] = series.exec(name) ?? [];
      if (statement !== undefined && value > 0) moved[statement] = value;
    }
    return moved;
  }
}

const open: Observed[] = [];
function observe(dsn: string): Observed {
  const observed = new Observed(dsn);
  open.push(observed);
  return observed;
}
afterEach(async () => {
  await Promise.all(open.splice(0).map(({ db }) => db.end()));
});

const fails = (statement: ServiceStatement) => ({ name: statement, text: "SELECT 1/0" });
const works = (statement: ServiceStatement) => ({ name: statement, text: "SELECT 1" });
const ms = 10_000;

test("every statement of the service has its series at 0 from the start", async () => {
  const samples = await observe("postgres://nobody@127.0.0.1:1/nothing").samples();
  for (const statement of serviceStatements) {
    expect(samples.get(`certwatch_database_statement_errors_total{statement="${statement}"}`)).toBe(0);
    for (const le of ["0.001", "0.005", "0.025", "0.1", "0.5", "2.0", "10.0", "60.0", "+Inf"]) {
      const bucket = `certwatch_database_statement_duration_seconds_bucket{le="${le}",statement="${statement}"}`;
      expect(samples.get(bucket), bucket).toBe(0);
    }
  }
});

test("without a server, a statement's failure counts under its own name, and a transaction's as such", async () => {
  const observed = observe(`postgres://nobody@127.0.0.1:${await freePort()}/nothing`);
  const { db } = observed;
  await expect(db.query(works("judge certificates"), ms)).rejects.toThrow("ECONNREFUSED");
  await expect(db.transaction(ms, async () => {})).rejects.toThrow("ECONNREFUSED");
  expect(await observed.errors()).toEqual({ "judge certificates": 1, transaction: 1 });
});

describeIfAvailable("observed statements on PostgreSQL", NO_POSTGRES, () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await startCluster({ tcp: true });
  });
  afterAll(() => cluster?.close());

  test("each statement is measured, whether it fails or not; what fails counts under its name", async () => {
    const observed = observe(cluster.dsn());
    const { db } = observed;
    await db.query(works("count alerts"), ms);
    await db.execute(works("count alerts"), ms);
    await expect(db.query(fails("prune alerts"), ms)).rejects.toThrow("division by zero");
    expect(await observed.measured()).toEqual({ "count alerts": 2, "prune alerts": 1 });
    expect(await observed.errors()).toEqual({ "prune alerts": 1 });
  });

  test("a transaction counts once when it fails, under the statement in it that failed", async () => {
    const observed = observe(cluster.dsn());
    const { db } = observed;
    const failing = db.transaction(ms, async (tx) => {
      await tx.query(works("count alerts"), ms);
      await tx.execute(fails("read the watch list"), ms);
    });
    await expect(failing).rejects.toThrow("division by zero");
    expect(await observed.errors()).toEqual({ "read the watch list": 1 });
    expect(await observed.measured()).toEqual({
      "count alerts": 1,
      "read the watch list": 1,
      transaction: 1,
    });
    expect((await observed.samples()).get('certwatch_database_errors_total{kind="bad-data"}')).toBe(1);
  });

  test("a COMMIT that fails is the transaction's own failure", async () => {
    const observed = observe(cluster.dsn());
    const { db } = observed;
    const text = `CREATE TABLE later (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)`;
    await db.execute({ name: byHand, text }, ms);
    const failing = db.transaction(ms, (tx) =>
      tx.execute({ name: "count alerts", text: "INSERT INTO later VALUES (1), (1)" }, ms),
    );
    await expect(failing).rejects.toThrow("duplicate key");
    expect(await observed.errors()).toEqual({ transaction: 1 });
  });

  test("a server that is not what target_session_attrs asks for fails the check of the session", async () => {
    const readOnly = "?target_session_attrs=read-write&options=-c%20default_transaction_read_only%3Don";
    const observed = observe(cluster.dsn("postgres", { tcp: true }) + readOnly);
    const { db } = observed;
    await expect(db.query(works("judge certificates"), ms)).rejects.toThrow("is read-only");
    expect(await observed.errors()).toEqual({ "check the session": 1 });
  });

  test("a name that is not the service's makes no series: the label set is closed", async () => {
    const observed = observe(cluster.dsn());
    const { db } = observed;
    const series = async () =>
      [...(await observed.samples()).keys()].filter((name) => name.startsWith("certwatch_database_"));
    const before = await series();
    await db.query({ name: byHand, text: "SELECT 1" }, ms);
    await expect(db.query({ name: "list alerts", text: "SELECT 1/0" }, ms)).rejects.toThrow();
    expect(await series()).toEqual(before);
  });
});
