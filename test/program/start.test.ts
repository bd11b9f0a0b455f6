import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { parseDsn } from "../../src/db/dsn.ts";
import { type Cluster, NO_POSTGRES, startCluster } from "../support/postgres.ts";
import {
  endPrograms,
  isOutputBlocking,
  runProgram,
  spawnProgram,
  tellsBlocking,
} from "../support/program.ts";
import { secrets, withSecrets } from "../support/secrets.ts";
import { describeIfAvailable } from "../support/skip.ts";
import { type Bed, openAnyDatabase, openBedOn } from "./bed.ts";

afterEach(endPrograms);

describe("configuration", () => {
  test("every problem is told at once, with values and secrets masked, and the status is 2", async () => {
    const { status, stderr, output } = await runProgram(["run"], {
      POSTGRES_DSN: `postgres://postgres:${secrets.dsnPassword}@host:port/db`,
      CERTSTREAM_URL: `http://user:${secrets.feedPassword}@feed.example/?token=${secrets.feedToken}, ws://feed.example`,
      // Without its scheme, this is a URL whose scheme is the user's name.
      WEBHOOK_URL: `user:${secrets.webhookPassword}@hooks.example/${secrets.webhookPath}?token=${secrets.webhookToken}`,
      WEBHOOK_SECRET: `${secrets.webhookSecret}==`,
      WEBHOOK_AUTHORIZATION: `${secrets.authorization}\nX-Injected: 1`,
      WEBHOOK_TIMEOUT_S: "0",
      WEBHOOK_MAX_ATTEMPTS: "1.5",
      API_PORT: "65536",
      CLEANUP_INTERVAL_S: "1h",
      ALERT_RETENTION_S: "-1",
      SUSPICIOUS_GRACE_S: "2147484",
      WATCH_REFRESH_INTERVAL_S: "0",
      FEED_IDLE_TIMEOUT_S: "Infinity",
      FEED_MAX_MESSAGE_BYTES: "16M",
      PRECERT_MATCH: "fingerprint",
      LOG_LEVEL: "verbose",
    });
    expect(status).toBe(2);
    expect(output).toBe(stderr); // not one line of the service's log
    const named = stderr.split("\n").map((line) => /^ {2}([A-Z_]+)=(.*?): (.*)$/.exec(line)?.slice(1));
    expect(
      Object.fromEntries(named.filter((parts) => parts !== undefined).map(([name, value]) => [name, value])),
    ).toEqual({
      POSTGRES_DSN: "(unreadable DSN)",
      CERTSTREAM_URL: "http://***@feed.example/?***,ws://feed.example/",
      WEBHOOK_URL: "***",
      WEBHOOK_SECRET: "***",
      WEBHOOK_AUTHORIZATION: "***",
      WEBHOOK_TIMEOUT_S: '"0"',
      WEBHOOK_MAX_ATTEMPTS: '"1.5"',
      API_PORT: '"65536"',
      CLEANUP_INTERVAL_S: '"1h"',
      ALERT_RETENTION_S: '"-1"',
      SUSPICIOUS_GRACE_S: '"2147484"',
      WATCH_REFRESH_INTERVAL_S: '"0"',
      FEED_IDLE_TIMEOUT_S: '"Infinity"',
      FEED_MAX_MESSAGE_BYTES: '"16M"',
      PRECERT_MATCH: '"fingerprint"',
      LOG_LEVEL: '"verbose"',
    });
    expect(stderr).toContain("allowed is a number of seconds from 0 to 2147483");
  });

  test("neither database, and both", async () => {
    const none = await runProgram(["run"], {});
    expect([none.status, none.stderr]).toEqual([
      2,
      expect.stringMatching(/POSTGRES_DSN is not set.*--embedded/),
    ]);
    const both = await runProgram(["run", "--embedded"], {
      POSTGRES_DSN: `postgres://u:${secrets.dsnPassword}@host/db`,
    });
    expect([both.status, both.stderr]).toEqual([
      2,
      expect.stringMatching(/POSTGRES_DSN is set, but --embedded/),
    ]);
  });

  test("a certificate's file that is not there", async () => {
    const { status, stderr } = await runProgram(["run"], {
      POSTGRES_DSN: `postgres://u:${secrets.dsnPassword}@host/db?sslmode=verify-full&sslrootcert=/nowhere/ca.pem`,
    });
    expect([status, stderr]).toEqual([
      2,
      expect.stringMatching(/POSTGRES_DSN=.*sslrootcert that cannot be read/),
    ]);
  });

  test.each([[["walk"]], [["run", "--fast"]], [["run", "too", "much"]], [[]]])(
    "wrong usage %j: status 2",
    async (args) => {
      const { status, stderr } = await runProgram(args, {});
      expect(status).toBe(2);
      expect(stderr).toMatch(/usage|--help/i);
    },
  );
});

describe("start", () => {
  let bed: Bed;
  beforeAll(async () => {
    bed = await openBedOn(openAnyDatabase);
  });
  afterAll(() => bed?.close());

  test("one line says what is watched, from where, to where", async () => {
    const program = await bed.start();
    const [line, ...more] = program.lines.filter(({ msg }) => msg.includes("certwatch is watching"));
    expect(more).toEqual([]);
    expect(line).toMatchObject({
      level: "info",
      msg: "certwatch is watching",
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
      watch_entries: 1,
      feeds: [`ws://***@127.0.0.1:${bed.simulator.port}/full-stream?***`],
      database: expect.stringContaining(parseDsn(bed.dsn).database!),
      webhook: `http://127.0.0.1:${bed.receiver.port}/***`,
      api: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
    });
    expect(program.output.split("\n").filter((text) => text !== "" && !text.startsWith("{"))).toEqual([]);
    expect(await program.stop()).toBe(0);
  });

  test("without WEBHOOK_URL it says that it only observes", async () => {
    const { WEBHOOK_URL: _unset, ...env } = bed.env;
    const program = spawnProgram(["run"], { ...env, WEBHOOK_URL: " " });
    expect(await program.waitForLog("observer mode")).toMatchObject({ webhook: null });
    expect(await program.stop()).toBe(0);
  });

  test.runIf(tellsBlocking)(
    "its standard output blocks, for the log to get through as fast as it is read",
    async () => {
      const program = await bed.start();
      expect(isOutputBlocking(program.pid)).toBe(true);
      expect(await program.stop()).toBe(0);
    },
  );

  test("LOG_LEVEL is obeyed, in any case", async () => {
    const program = spawnProgram(["run"], { ...bed.env, LOG_LEVEL: "error" });
    await bed.simulator.waitForClient(bed.simulator.accepted + 1);
    expect(await program.stop()).toBe(0);
    expect(program.output).toBe("");
  });

  test("a port in use: status 2, and the variable", async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const { port } = taken.address() as AddressInfo;
    const { status, stderr } = await runProgram(["run"], { ...bed.env, API_PORT: String(port) });
    taken.close();
    expect([status, stderr]).toEqual([2, expect.stringContaining(`cannot listen on 127.0.0.1:${port}`)]);
    expect(stderr).toContain("API_PORT");
  });

  test("a signal while it waits for the database: status 0", async () => {
    const nowhere = await mkdtemp(join(tmpdir(), "certwatch-"));
    const program = spawnProgram(["run"], {
      ...bed.env,
      POSTGRES_DSN: `postgres://postgres:${secrets.dsnPassword}@/db?host=${encodeURIComponent(nowhere)}`,
    });
    expect(await program.waitForLog("the database cannot be reached yet")).toMatchObject({ level: "warn" });
    expect(await program.stop()).toBe(0);
    await rm(nowhere, { recursive: true });
  });
});

describeIfAvailable("an unusable database: status 3", NO_POSTGRES, () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await startCluster({
      hba: ["local all secretive scram-sha-256", "local all all trust"],
    });
  });
  afterAll(() => cluster?.close());

  const attempt = async (dsn: string) => {
    const { status, output, stderr } = await runProgram(["run"], {
      POSTGRES_DSN: withSecrets(dsn, secrets.dsnPassword),
      API_PORT: "0",
    });
    expect([status, output]).toEqual([3, stderr]);
    return stderr;
  };
  const sql = async (dsn: string, text: string) => {
    const client = new pg.Client({ connectionString: dsn });
    await client.connect();
    await client.query(text).finally(() => client.end());
  };
  const as = (role: string, dsn: string) => dsn.replace("postgres://postgres", `postgres://${role}`);

  test("wrong password", async () => {
    await sql(cluster.dsn(), "CREATE ROLE secretive LOGIN PASSWORD 'another'");
    expect(await attempt(as("secretive", cluster.dsn()))).toMatch(
      /refuses.*password authentication failed.*POSTGRES_DSN/,
    );
  });

  test("unknown database", async () => {
    expect(await attempt(cluster.dsn("nowhere"))).toMatch(
      /database "nowhere" does not exist.*Check POSTGRES_DSN/,
    );
  });

  test("no tables: each one, and the command", async () => {
    const stderr = await attempt(await cluster.createDatabase({ schema: false }));
    for (const table of ["intent_current", "certs", "alerts"])
      expect(stderr).toContain(`the table public.${table} does not exist`);
    expect(stderr).toContain("certwatch migrate");
  });

  test("the reference's tables, not migrated: the columns, and the command", async () => {
    const dsn = await cluster.createDatabase({ schema: false });
    await sql(
      dsn,
      `CREATE TABLE intent_current (fqdn TEXT);
       CREATE TABLE certs (fingerprint_sha1 TEXT PRIMARY KEY, serial TEXT, sans JSONB NOT NULL, not_before BIGINT NOT NULL,
                           not_after BIGINT NOT NULL, source TEXT, added_at BIGINT NOT NULL);
       CREATE TABLE alerts (id BIGSERIAL PRIMARY KEY, fingerprint TEXT NOT NULL, sans JSONB NOT NULL, matched JSONB NOT NULL,
                            issuer TEXT, seen_at BIGINT NOT NULL, delivered BOOLEAN NOT NULL DEFAULT FALSE,
                            severity TEXT NOT NULL DEFAULT 'suspicious')`,
    );
    expect(await attempt(dsn)).toMatch(/public\.alerts lacks .*certificate_key.*certwatch migrate/);
  });

  test("missing privileges: each one, with the GRANT that mends it; with those it starts", async () => {
    const dsn = await cluster.createDatabase();
    await sql(dsn, "CREATE ROLE watcher LOGIN; GRANT SELECT ON alerts TO watcher");
    const stderr = await attempt(as("watcher", dsn));
    const grants = [...stderr.matchAll(/GRANT [^;]*;/g)].map(([grant]) => grant);
    expect(grants).toEqual([
      "GRANT SELECT ON public.intent_current TO watcher;",
      "GRANT SELECT ON public.certs TO watcher;",
      "GRANT INSERT, UPDATE, DELETE ON public.alerts TO watcher;",
      "GRANT USAGE ON SEQUENCE public.alerts_id_seq TO watcher;",
    ]);
    await sql(dsn, grants.join("\n"));
    const program = spawnProgram(["run"], { POSTGRES_DSN: as("watcher", dsn), API_PORT: "0" });
    await program.waitForLog("certwatch is watching");
    expect(await program.stop()).toBe(0);
  });

  test("a watch list that cannot be read", async () => {
    const dsn = await cluster.createDatabase();
    await sql(
      dsn,
      `DROP TABLE intent_current; CREATE TABLE upstream (name text, weight int); INSERT INTO upstream VALUES ('a.example', 0);
       CREATE VIEW intent_current AS SELECT name || 1 / weight AS fqdn FROM upstream`,
    );
    expect(await attempt(dsn)).toMatch(/public\.intent_current: division by zero/);
  });
});
