import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, readdirSync, statSync, watch } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import pg from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { parseDsn } from "../../../src/db/dsn.ts";
import { type Embedded, EmbeddedError, openEmbedded } from "../../../src/db/embedded/open.ts";
import { errorKind } from "../../../src/db/errors.ts";
import { type Database, openPool } from "../../../src/db/pool.ts";
import { byHand } from "../../support/by-hand.ts";
import { embeddedDir } from "../../support/embedded.ts";
import { describeIfAvailable, missing } from "../../support/skip.ts";
import { waitUntil } from "../../support/wait.ts";

/** Cleanups of the running test, last in, first out. */
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function temporaryDir(): Promise<string> {
  const dir = await embeddedDir();
  cleanups.push(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

async function openAt(dataDir: string, onFailure: (error: Error) => void = () => {}): Promise<Embedded> {
  const embedded = await openEmbedded({ dataDir, onFailure });
  cleanups.push(() => embedded.close());
  return embedded;
}

function poolOf(embedded: Embedded): Database {
  const db = openPool(parseDsn(embedded.dsn, {}));
  cleanups.push(() => db.end());
  return db;
}

const one = async (db: Database, text: string, values?: unknown[]) =>
  (await db.query<{ v: unknown }>({ name: byHand, text, ...(values && { values }) }, 20_000))[0]?.v;

/** Another process that opens the embedded database; it writes one line when it has it, or why not. */
function otherProcess(dataDir: string): { child: ChildProcess; line: Promise<string> } {
  const program = `
    import { openEmbedded } from ${JSON.stringify(new URL("../../../dist/db/embedded/open.js", import.meta.url).href)};
    process.on("SIGTERM", () => console.log("SIGTERM"));
    const say = (promise) => promise.then(() => console.log("open"), (error) => console.log(error.message));
    await say(openEmbedded({ dataDir: ${JSON.stringify(dataDir)} }));
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  cleanups.push(async () => {
    child.kill("SIGKILL");
    await exited;
  });
  return {
    child,
    line: once(createInterface({ input: child.stdout! }), "line").then(([line]) => String(line)),
  };
}

/** One database for the tests that need only its connections; each makes a table of its own. */
let dir: string;
let shared: Embedded;
beforeAll(async () => {
  dir = await embeddedDir();
  shared = await openEmbedded({ dataDir: dir });
});
afterAll(async () => {
  await shared?.close();
  await rm(dir, { recursive: true, force: true });
});

describe("the embedded database", () => {
  test("answers several connections at once, also with statements that arrive in pieces", async () => {
    const db = poolOf(shared);
    const long = "x".repeat(300_000);
    const work = Array.from({ length: 80 }, async (_, index) => {
      const text =
        index % 2 === 0 ? "SELECT length($1::text) + $2::int AS v" : "SELECT $2 || length($1::text) AS v";
      expect(await one(db, text, [long, index])).toBe(index % 2 === 0 ? 300_000 + index : `${index}300000`);
    });
    await Promise.all(work);
  });

  test("keeps a transaction of one connection to itself", async () => {
    const db = poolOf(shared);
    await db.execute({ name: byHand, text: "CREATE TABLE counted (a int)" }, 20_000);
    const add = () =>
      db.transaction(20_000, async (tx) => {
        const [row] = await tx.query<{ n: number }>(
          { name: byHand, text: "SELECT count(*)::int AS n FROM counted" },
          20_000,
        );
        await tx.execute({ name: byHand, text: "INSERT INTO counted VALUES ($1)", values: [row!.n] }, 20_000);
      });
    await Promise.all(Array.from({ length: 12 }, add));
    expect(await one(db, "SELECT array_agg(a ORDER BY a) AS v FROM counted")).toEqual([...Array(12).keys()]);
  });

  test("has what was written when it is opened again", async () => {
    const dataDir = await temporaryDir();
    const first = await openAt(dataDir);
    await poolOf(first).execute({ name: byHand, text: "CREATE TABLE t AS SELECT 42 AS v" }, 20_000);
    await first.close();
    expect(await one(poolOf(await openAt(dataDir)), "SELECT v FROM t")).toBe(42);
  });

  test("asks the disk to keep what is committed", async () => {
    const db = poolOf(shared);
    expect(await one(db, "SELECT current_setting('fsync') AS v")).toBe("on");
    expect(await one(db, "SELECT current_setting('synchronous_commit') AS v")).toBe("on");
    const walFsyncs = async () => {
      await one(db, "SELECT pg_stat_force_next_flush() AS v");
      return one(db, "SELECT sum(fsyncs)::int AS v FROM pg_stat_io WHERE object = 'wal'");
    };
    const before = (await walFsyncs()) as number;
    await db.execute({ name: byHand, text: "CREATE TABLE kept (a int)" }, 20_000);
    expect(await walFsyncs()).toBeGreaterThan(before);
  });

  test("makes its folder and its socket for the owner alone", async () => {
    const dataDir = join(await temporaryDir(), "deeper");
    mkdirSync(dataDir, { mode: 0o755 });
    await openAt(dataDir);
    expect(statSync(join(dataDir, ".s.PGSQL.5432")).mode & 0o777).toBe(0o600);
    expect(statSync(join(dataDir, "pgdata")).mode & 0o077).toBe(0);
  });

  test("makes a socket that nobody else can connect to, whatever the umask, not even for a moment", async () => {
    const dataDir = join(await temporaryDir(), "open-to-all");
    mkdirSync(dataDir);
    chmodSync(dataDir, 0o755);
    const seen = new Set<string>();
    const watcher = watch(dataDir, (_, name) => {
      if (name !== ".s.PGSQL.5432") return;
      const mode = statSync(join(dataDir, name), { throwIfNoEntry: false })?.mode;
      if (mode !== undefined) seen.add((mode & 0o777).toString(8));
    });
    const umask = process.umask(0);
    try {
      await openAt(dataDir);
      await waitUntil(
        "the socket to be seen",
        () => seen.size,
        (count) => count > 0,
      );
    } finally {
      process.umask(umask);
      watcher.close();
    }
    expect([...seen]).toEqual(["600"]);
    expect(readdirSync(dataDir).filter((name) => name.startsWith(".sock"))).toEqual([]);
  });

  test("refuses a folder whose socket the system cannot address", async () => {
    const dataDir = join(await temporaryDir(), "x".repeat(100));
    await expect(openEmbedded({ dataDir })).rejects.toThrow(/too deep.*bytes/);
  });

  test("is refused to a second process, by name, and free after the first was killed", async () => {
    const dataDir = await temporaryDir();
    const first = otherProcess(dataDir);
    expect(await first.line).toBe("open");
    const refused = await openEmbedded({ dataDir }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(EmbeddedError);
    expect(String(refused)).toContain(`in use by process ${first.child.pid}`);
    expect(String(refused)).toContain(join(dataDir, ".s.PGSQL.5432"));

    const outside = new pg.Client({ host: dataDir, user: "postgres", database: "postgres" });
    outside.on("error", () => {});
    await outside.connect();
    await outside.query("CREATE TABLE t (a int)");
    for (let n = 1; n <= 50; n++) await outside.query("INSERT INTO t VALUES ($1)", [n]);
    first.child.kill("SIGKILL");
    await once(first.child, "exit");
    expect(await one(poolOf(await openAt(dataDir)), "SELECT count(*)::int AS v FROM t")).toBe(50);
  });

  test("goes to exactly one of several processes that start at once over the lock of a dead one", async () => {
    const dataDir = await temporaryDir();
    const dead = otherProcess(dataDir);
    await dead.line;
    dead.child.kill("SIGKILL");
    await once(dead.child, "exit");
    const lines = await Promise.all(Array.from({ length: 4 }, () => otherProcess(dataDir).line));
    expect(lines.filter((line) => line === "open")).toHaveLength(1);
    expect(lines.filter((line) => line.includes("is in use by process"))).toHaveLength(3);
  });

  test("takes over the lock of a dead process whose id belongs to another one now", async () => {
    const dataDir = await temporaryDir();
    await writeFile(
      join(dataDir, "lock.7"),
      JSON.stringify({ pid: process.ppid, started: "before the last boot" }),
    );
    await openAt(dataDir);
  });

  test("stays up when the process gets a signal that it handles itself", async () => {
    const dataDir = await temporaryDir();
    const { child, line } = otherProcess(dataDir);
    expect(await line).toBe("open");
    const heard = once(child.stdout!, "data");
    child.kill("SIGTERM");
    await heard;
    const outside = new pg.Client({ host: dataDir, user: "postgres", database: "postgres" });
    await outside.connect();
    expect((await outside.query("SELECT 1 AS v")).rows).toEqual([{ v: 1 }]);
    await outside.end();
  });

  test("ends a transaction that is left idle, and rolls it back", async () => {
    const db = poolOf(shared);
    await db.execute({ name: byHand, text: "CREATE TABLE idle (a int)" }, 20_000);
    const outside = await client(shared);
    const ended = once(outside, "error");
    await outside.query("BEGIN; INSERT INTO idle VALUES (1)");
    expect(await one(db, "SELECT count(*)::int AS v FROM idle")).toBe(0);
    expect(String((await ended)[0])).toContain("was idle for 5 s");
  });

  test("rolls back the transaction of a connection that breaks", async () => {
    const db = poolOf(shared);
    await db.execute({ name: byHand, text: "CREATE TABLE broken (a int)" }, 20_000);
    const outside = await client(shared);
    await outside.query("BEGIN; INSERT INTO broken VALUES (1)");
    await outside.end();
    expect(await one(db, "SELECT count(*)::int AS v FROM broken")).toBe(0);
  });

  test("does not let the settings of one connection reach another", async () => {
    const outside = await client(shared);
    await outside.query("SET default_transaction_read_only = on; SET search_path = pg_catalog");
    await poolOf(shared).execute({ name: byHand, text: "CREATE TABLE writable (a int)" }, 20_000);
  });

  test("says so when the server in it goes down", async () => {
    let fail: (error: Error) => void;
    const failed = new Promise<Error>((resolve) => {
      fail = resolve;
    });
    const dataDir = await temporaryDir();
    const embedded = await openAt(dataDir, (error) => fail(error));
    const db = poolOf(embedded);
    await db.execute({ name: byHand, text: "CREATE TABLE t AS SELECT 1 AS v" }, 20_000);
    // A timeout that ends the backend is the end of the only one there is.
    const error = await db
      .transaction(20_000, async (tx) => {
        await tx.execute({ name: byHand, text: "SET idle_in_transaction_session_timeout = 10" }, 20_000);
        await new Promise((resolve) => setTimeout(resolve, 50));
        await tx.execute({ name: byHand, text: "SELECT 1" }, 20_000);
      })
      .catch((thrown: unknown) => thrown);
    expect(errorKind(error)).toBe("retryable");
    expect(String(await failed)).toContain(`${dataDir} went down`);
    expect(await one(poolOf(await openAt(dataDir)), "SELECT v FROM t")).toBe(1);
  });
});

describeIfAvailable("psql on the embedded database", missing("psql"), () => {
  test("reads and writes, and loads files with \\copy", async () => {
    const db = poolOf(shared);
    await db.execute({ name: byHand, text: "CREATE TABLE loaded (a int)" }, 20_000);
    const file = join(dir, "t.csv");
    await writeFile(file, Array.from({ length: 20_000 }, (_, n) => `${n}\n`).join(""));
    const output = await psql(
      dir,
      `\\copy loaded from '${file}'`,
      "\\copy loaded from /dev/null",
      "SELECT max(a) FROM loaded",
    );
    expect(output).toBe("COPY 20000\nCOPY 0\n19999\n");
    await writeFile(file, "not a number\n");
    expect(await psql(dir, `\\copy loaded from '${file}'`, "SELECT 1")).toContain("invalid input syntax");
    expect(await psql(dir, "\\copy nowhere from /dev/null", "SELECT 1")).toContain("does not exist");
    expect(await one(db, "SELECT count(*)::int AS v FROM loaded")).toBe(20_000);
  });
});

async function client(embedded: Embedded): Promise<pg.Client> {
  const { hosts } = parseDsn(embedded.dsn, {});
  const outside = new pg.Client({ host: hosts[0]!.host, user: "postgres", database: "postgres" });
  outside.on("error", () => {});
  await outside.connect();
  cleanups.push(() => outside.end());
  return outside;
}

async function psql(dataDir: string, ...commands: string[]): Promise<string> {
  const args = [
    "-XAt",
    "-h",
    dataDir,
    "-U",
    "postgres",
    ...commands.flatMap((one) => ["-c", one]),
    "postgres",
  ];
  const child = spawn("psql", args, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
  await once(child, "close");
  return output;
}
