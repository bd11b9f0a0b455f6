import { once } from "node:events";
import { createServer } from "node:net";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { DsnError, parseDsn } from "../../src/db/dsn.ts";
import { DeadlineError, errorKind, failedStatement, NoHostError, sqlState } from "../../src/db/errors.ts";
import { type Database, openPool } from "../../src/db/pool.ts";
import { byHand } from "../support/by-hand.ts";
import { type Cluster, freePort, NO_POSTGRES, startCluster } from "../support/postgres.ts";
import { createPrivateCa, type PrivateCa } from "../support/private-ca.ts";
import { describeIfAvailable, missing } from "../support/skip.ts";
import { patienceMs, waitUntil } from "../support/wait.ts";

const open: Database[] = [];
const closers: (() => Promise<void> | void)[] = [];
function pool(dsn: string, maxConnections?: number): Database {
  const db = openPool(parseDsn(dsn, {}), maxConnections === undefined ? {} : { maxConnections });
  open.push(db);
  return db;
}
afterEach(async () => {
  await Promise.all(open.splice(0).map((db) => db.end()));
  for (const close of closers.splice(0).reverse()) await close();
});

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );
const one = async (db: Database, text: string) =>
  (await db.query<{ v: unknown }>({ name: byHand, text }, patienceMs))[0]?.v;

describeIfAvailable("a pool on PostgreSQL", NO_POSTGRES, () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await startCluster({ tcp: true });
  });
  afterAll(() => cluster?.close());

  test("returns rows, with int8 as numbers, and counts of rows", async () => {
    const db = pool(cluster.dsn());
    const sql = {
      name: byHand,
      text: "SELECT $1::int8 AS a, ARRAY[1, NULL]::int8[] AS b, '{\"x\":1}'::jsonb AS c",
      values: [2 ** 40],
    };
    expect(await db.query(sql, patienceMs)).toEqual([{ a: 2 ** 40, b: [1, null], c: { x: 1 } }]);
    await db.execute(
      { name: byHand, text: "CREATE TABLE counted (a int); INSERT INTO counted VALUES (1), (2)" },
      patienceMs,
    );
    expect(
      await db.execute(
        { name: byHand, text: "UPDATE counted SET a = a WHERE a > $1", values: [0] },
        patienceMs,
      ),
    ).toBe(2);
  });

  test("runs more statements at once than it has connections", async () => {
    const db = pool(cluster.dsn(), 2);
    const queries = Array.from({ length: 20 }, (_, index) =>
      db.query({ name: byHand, text: "SELECT $1::int AS v", values: [index] }, patienceMs),
    );
    expect((await Promise.all(queries)).flat()).toEqual(Array.from({ length: 20 }, (_, v) => ({ v })));
    const seen =
      "SELECT count(*)::int AS v FROM pg_stat_activity WHERE application_name = 'certwatch' AND pid <> pg_backend_pid()";
    expect(await one(db, seen)).toBeLessThanOrEqual(1);
  });

  test("keeps the connection after an error of the statement", async () => {
    const db = pool(cluster.dsn(), 1);
    const pid = await one(db, "SELECT pg_backend_pid() AS v");
    const refused = await failure(db.query({ name: "count alerts", text: "SELECT 1/0" }, patienceMs));
    expect([sqlState(refused), failedStatement(refused)]).toEqual(["22012", "count alerts"]);
    expect(await one(db, "SELECT pg_backend_pid() AS v")).toBe(pid);
  });

  test("commits a transaction, and rolls it back when the work throws", async () => {
    const db = pool(cluster.dsn(), 1);
    await db.execute({ name: byHand, text: "CREATE TABLE kept (a int)" }, patienceMs);
    await db.transaction(10_000, (tx) =>
      tx.execute({ name: byHand, text: "INSERT INTO kept VALUES (1)" }, patienceMs),
    );
    const failed = db.transaction(10_000, async (tx) => {
      await tx.execute({ name: byHand, text: "INSERT INTO kept VALUES (2)" }, patienceMs);
      throw new Error("changed my mind");
    });
    await expect(failed).rejects.toThrow("changed my mind");
    expect(await one(db, "SELECT array_agg(a) AS v FROM kept")).toEqual([1]);
  });

  test("ends a statement at its deadline, and goes on with another connection", async () => {
    const db = pool(cluster.dsn(), 1);
    const pid = await one(db, "SELECT pg_backend_pid() AS v");
    const late = await failure(db.query({ name: "judge certificates", text: "SELECT pg_sleep(60)" }, 100));
    expect(late).toBeInstanceOf(DeadlineError);
    expect(String(late)).toContain('the database did not answer "judge certificates" in time');
    expect(failedStatement(late)).toBe("judge certificates");
    expect(await one(db, "SELECT pg_backend_pid() AS v")).not.toBe(pid);
  });

  test("leaves no statement behind on the server: not at a deadline, and not at its end", async () => {
    const db = pool(cluster.dsn(), 4);
    const observer = pool(cluster.dsn(), 1);
    const napping = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(59)%'";
    const naps = async () => (await observer.query({ name: byHand, text: napping }, patienceMs)).length;
    const nap = (ms: number) => failure(db.query({ name: byHand, text: "SELECT pg_sleep(59)" }, ms));
    await Promise.all([nap(100), nap(100)]);
    await waitUntil("the end of the statements", naps, (count) => count === 0);
    const running = nap(60_000);
    await waitUntil("a statement", naps, (count) => count === 1);
    await db.end();
    expect(errorKind(await running)).toBe("retryable");
    await waitUntil("the end of the statements", naps, (count) => count === 0);
  });

  test("gives up a connection that is being made when it is ended", async () => {
    const silent = createServer().listen(0, "127.0.0.1");
    closers.push(() => void silent.close());
    await once(silent, "listening");
    const { port } = silent.address() as { port: number };
    const db = pool(`postgres://postgres@127.0.0.1:${port}/postgres?sslmode=disable`, 1);
    const connecting = failure(db.query({ name: byHand, text: "SELECT 1" }, 300_000));
    await once(silent, "connection");
    await db.end();
    expect(String(await connecting)).toContain("are being closed");
  });

  test("bounds the wait for a free connection", async () => {
    const db = pool(cluster.dsn(), 1);
    const busy = failure(db.query({ name: byHand, text: "SELECT pg_sleep(60)" }, 2_000));
    const waited = await failure(db.query({ name: "prune alerts", text: "SELECT 1" }, 50));
    expect(String(waited)).toContain('connections stayed busy: none became free for "prune alerts" in time');
    expect(failedStatement(waited)).toBe("prune alerts");
    await busy;
    expect(await one(db, "SELECT 1 AS v")).toBe(1);
  });

  test("settles everything while the server is frozen, connected or not, and recovers", async () => {
    const db = pool(cluster.dsn(), 2);
    await one(db, "SELECT 1 AS v");
    cluster.freeze();
    try {
      const failures = Array.from({ length: 5 }, () =>
        failure(db.query({ name: byHand, text: "SELECT 1" }, 200)),
      );
      for (const error of await Promise.all(failures)) expect(error).toBeInstanceOf(DeadlineError);
      const other = pool(cluster.dsn("postgres", { tcp: true }));
      expect(await failure(other.query({ name: byHand, text: "SELECT 1" }, 200))).toBeInstanceOf(
        DeadlineError,
      );
      await other.end();
    } finally {
      cluster.thaw();
    }
    expect(await one(db, "SELECT 2 AS v")).toBe(2);
  });

  test("survives a restart of the server with idle connections, and calls the errors retryable", async () => {
    const db = pool(cluster.dsn("postgres", { tcp: true }), 2);
    await one(db, "SELECT 1 AS v");
    const running = failure(db.query({ name: byHand, text: "SELECT pg_sleep(60)" }, patienceMs));
    await one(db, "SELECT 1 AS v");
    await cluster.kill();
    expect(errorKind(await running)).toBe("retryable");
    expect(errorKind(await failure(db.query({ name: byHand, text: "SELECT 1" }, patienceMs)))).toBe(
      "retryable",
    );
    await cluster.start();
    expect(await one(db, "SELECT 3 AS v")).toBe(3);
  });

  test("refuses statements after its end", async () => {
    const db = pool(cluster.dsn(), 1);
    await one(db, "SELECT 1 AS v"); // it has its connection
    const running = one(db, "SELECT 4 AS v FROM pg_sleep(0.1)");
    const waiting = failure(one(db, "SELECT 1 AS v"));
    await Promise.all([db.end(), db.end()]);
    expect(await running).toBe(4);
    expect(String(await waiting)).toContain("are closed");
    expect(String(await failure(one(db, "SELECT 1 AS v")))).toContain("are closed");
  });

  test("tries several hosts in order, and passes over one that is down and one that never answers", async () => {
    const silent = createServer().listen(0, "127.0.0.1");
    await once(silent, "listening");
    closers.push(() => void silent.close());
    const { port } = silent.address() as { port: number };
    const hosts = `127.0.0.1:${await freePort()},127.0.0.1:${port},127.0.0.1:${cluster.port}`;
    const db = pool(`postgres://postgres@${hosts}/postgres`, 1);
    expect(await db.query({ name: byHand, text: "SELECT 1 AS v" }, 6_000)).toEqual([{ v: 1 }]);
  });

  test("says of each host why it cannot be used", async () => {
    const port = await freePort();
    const db = pool(`postgres://postgres@127.0.0.1:${port},127.0.0.1:${cluster.port}/nowhere`);
    const error = await failure(one(db, "SELECT 1 AS v"));
    expect(error).toBeInstanceOf(NoHostError);
    expect(String(error)).toMatch(
      new RegExp(`127.0.0.1:${port}: connect ECONNREFUSED.*"nowhere" does not exist`),
    );
  });

  test("leaves a primary that turned read-only and follows target_session_attrs to the next host", async () => {
    const first = await startCluster({ tcp: true });
    closers.push(() => first.close());
    const hosts = `127.0.0.1:${first.port},127.0.0.1:${cluster.port}`;
    const db = pool(`postgres://postgres@${hosts}/postgres?target_session_attrs=read-write`, 1);
    const where = "SELECT current_setting('port')::int AS v";
    expect(await one(db, where)).toBe(first.port);
    // As after a switch-over: the session is still there, and refuses to write.
    await db.execute(
      { name: byHand, text: "ALTER SYSTEM SET default_transaction_read_only = on" },
      patienceMs,
    );
    await db.execute({ name: byHand, text: "SELECT pg_reload_conf()" }, patienceMs);
    const write = { name: byHand, text: "CREATE TABLE IF NOT EXISTS w (a int)" };
    const refusal = async () => sqlState(await failure(db.execute(write, patienceMs)));
    await waitUntil("a write that is refused", refusal, (state) => state === "25006");
    expect(await one(db, where)).toBe(cluster.port);
  });

  test("connects without TLS where the server has none, and not at all where TLS is required", async () => {
    const tcp = cluster.dsn("postgres", { tcp: true });
    const encrypted = "SELECT ssl AS v FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    for (const mode of ["disable", "allow", "prefer"])
      expect(await one(pool(`${tcp}?sslmode=${mode}`), encrypted)).toBe(false);
    expect(String(await failure(one(pool(`${tcp}?sslmode=require`), encrypted)))).toContain(
      "does not support SSL",
    );
  });
});

describeIfAvailable("sslmode on PostgreSQL", NO_POSTGRES ?? missing("openssl", "version"), () => {
  const encrypted = "SELECT ssl AS v FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
  let ca: PrivateCa;
  let cluster: Cluster;
  let dsn: string;
  beforeAll(async () => {
    ca = createPrivateCa();
    cluster = await startCluster({
      tcp: true,
      files: { "server.crt": ca.file("server.crt"), "server.key": ca.file("server.key") },
      conf: ["ssl = on"],
      hba: [
        "local all all trust",
        "hostssl all plain_only all reject",
        "hostnossl all tls_only all reject",
        "host all all all trust",
      ],
    });
    const db = pool(cluster.dsn());
    await db.execute(
      { name: byHand, text: "CREATE ROLE plain_only LOGIN; CREATE ROLE tls_only LOGIN" },
      patienceMs,
    );
    dsn = cluster.dsn("postgres", { tcp: true });
  });
  afterAll(async () => {
    await cluster?.close();
    await ca?.remove();
  });

  test.each([
    ["disable", false],
    ["allow", false],
    ["prefer", true],
    ["require", true],
  ])("%s: encrypted is %s", async (mode, expected) => {
    expect(await one(pool(`${dsn}?sslmode=${mode}`), encrypted)).toBe(expected);
  });

  test("prefer falls back to plain, and allow to TLS, where pg_hba.conf refuses the first kind", async () => {
    expect(await one(pool(`${dsn}?sslmode=prefer&user=plain_only`), encrypted)).toBe(false);
    expect(await one(pool(`${dsn}?sslmode=allow&user=tls_only`), encrypted)).toBe(true);
    expect(sqlState(await failure(one(pool(`${dsn}?sslmode=require&user=plain_only`), encrypted)))).toBe(
      "28000",
    );
    expect(sqlState(await failure(one(pool(`${dsn}?sslmode=disable&user=tls_only`), encrypted)))).toBe(
      "28000",
    );
  });

  test("verify-ca and require with a root certificate check the chain alone", async () => {
    for (const mode of ["verify-ca", "require"]) {
      expect(await one(pool(`${dsn}?sslmode=${mode}&sslrootcert=${ca.file("ca.crt")}`), encrypted)).toBe(
        true,
      );
      const error = await failure(
        one(pool(`${dsn}?sslmode=${mode}&sslrootcert=${ca.file("other.crt")}`), encrypted),
      );
      expect(String(error)).toMatch(/self-signed certificate|unable to verify/);
      expect(errorKind(error)).toBe("fatal");
    }
  });

  test("verify-full checks the host name as well", async () => {
    const verified = `sslmode=verify-full&sslrootcert=${ca.file("ca.crt")}`;
    const byName = dsn.replace("127.0.0.1", "localhost");
    expect(await one(pool(`${byName}?${verified}`), encrypted)).toBe(true);
    expect(String(await failure(one(pool(`${dsn}?${verified}`), encrypted)))).toContain("altnames");
  });

  test.each(["sslmode=require", "sslmode=verify-full&sslrootcert=ca.crt"])(
    "a statement is ended at its deadline over TLS as well: %s",
    async (parameters) => {
      const withPath = parameters.replace("ca.crt", ca.file("ca.crt"));
      const db = pool(`${dsn.replace("127.0.0.1", "localhost")}?${withPath}`, 1);
      const observer = pool(cluster.dsn(), 1);
      await one(db, "SELECT 1 AS v");
      expect(await failure(db.query({ name: byHand, text: "SELECT pg_sleep(58)" }, 200))).toBeInstanceOf(
        DeadlineError,
      );
      const napping = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(58)%'";
      const naps = async () => (await observer.query({ name: byHand, text: napping }, patienceMs)).length;
      await waitUntil("the end of the statement", naps, (count) => count === 0);
    },
  );

  test("a root certificate that is missing is an error of the DSN", () => {
    expect(() => openPool(parseDsn(`${dsn}?sslmode=verify-full&sslrootcert=${ca.file("none.crt")}`))).toThrow(
      DsnError,
    );
  });
});
