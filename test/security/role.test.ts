import { execFileSync, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { parseDsn } from "../../src/db/dsn.ts";
import { sqlState } from "../../src/db/errors.ts";
import { type Database, openPool } from "../../src/db/pool.ts";
import { addToInventory } from "../../src/demo/upstream.ts";
import { type Bed, entryOf, isFor, openBed } from "../program/bed.ts";
import { byHand } from "../support/by-hand.ts";
import { type Cluster, NO_POSTGRES, startCluster } from "../support/postgres.ts";
import { endPrograms } from "../support/program.ts";
import { describeIfAvailable, missing } from "../support/skip.ts";

const script = fileURLToPath(new URL("../../deploy/roles.sql", import.meta.url));
/** Has to be quoted wherever it stands. */
const role = 'cert"watch runtime';

describeIfAvailable("the least-privilege role", NO_POSTGRES ?? missing("psql"), () => {
  let cluster: Cluster;
  let bed: Bed;
  let asRole: string;
  let db: Database;
  const grant = (...args: string[]) =>
    execFileSync("psql", [bed.dsn, "-X", "-q", ...args, "-f", script], { stdio: "pipe", encoding: "utf8" });
  beforeAll(async () => {
    cluster = await startCluster();
    bed = await openBed(await cluster.createDatabase());
    // Upstream's tables are upstream's; more than it should have is taken away from the role.
    await bed.db.execute(
      {
        name: byHand,
        text: `CREATE ROLE upstream; ALTER TABLE public.certs OWNER TO upstream;
               ALTER TABLE public.intent_current OWNER TO upstream;
               CREATE ROLE "cert""watch runtime" LOGIN; GRANT ALL ON public.certs, public.alerts TO "cert""watch runtime";
               REVOKE CONNECT ON DATABASE ${parseDsn(bed.dsn).database} FROM PUBLIC`,
      },
      10_000,
    );
    grant("-v", `role=${role}`);
    asRole = bed.dsn.replace("postgres@", `${encodeURIComponent(role)}@`);
    db = openPool(parseDsn(asRole));
  });
  afterEach(endPrograms);
  afterAll(async () => {
    await db?.end();
    await bed?.close();
    await cluster?.close();
  });

  test("can be applied again, and makes the role where there is none, without a password", async () => {
    expect(grant("-v", `role=${role}`)).toBe("");
    grant("-v", "role=second");
    grant(); // by its default name
    const rows = await bed.db.query(
      {
        name: byHand,
        text: `SELECT rolname, rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls AS is_more,
                      rolpassword IS NULL AS has_no_password
               FROM pg_authid WHERE rolname IN ('second', 'certwatch') ORDER BY rolname`,
      },
      10_000,
    );
    const plain = { is_more: false, has_no_password: true };
    expect(rows).toEqual([
      { rolname: "certwatch", ...plain },
      { rolname: "second", ...plain },
    ]);
  });

  test("is refused for a role that has more by other ways", async () => {
    await bed.db.execute({ name: byHand, text: "CREATE ROLE member LOGIN IN ROLE upstream" }, 10_000);
    for (const name of ["postgres", "member"]) {
      const { status, stderr } = spawnSync(
        "psql",
        [bed.dsn, "-X", "-q", "-v", `role=${name}`, "-f", script],
        {
          encoding: "utf8",
        },
      );
      expect([status, stderr]).toEqual([3, expect.stringMatching(/still has .*INSERT on public\.certs/)]);
    }
  });

  test("the whole service works under it: recorded, judged, merged, delivered, pruned", async () => {
    const mine = entryOf({ dnsNames: ["mine.watched.example"] }, "PrecertLogEntry");
    const theirs = entryOf({ dnsNames: ["theirs.watched.example"] });
    await addToInventory(bed.db, [mine.issuance], "test");
    const program = await bed.start({
      POSTGRES_DSN: asRole,
      CLEANUP_INTERVAL_S: "0.5",
      ALERT_RETENTION_S: "86400",
      WATCH_REFRESH_INTERVAL_S: "0.5",
    });
    await bed.simulator.publish(mine, theirs, { ...mine, kind: "X509LogEntry" });
    expect((await bed.receiver.waitFor(isFor("mine.watched.example"))).json).toMatchObject({
      severity: "info",
    });
    expect((await bed.receiver.waitFor(isFor("theirs.watched.example"))).json).toMatchObject({
      severity: "suspicious",
    });
    await program.waitForMetric("certwatch_alerts_merged_total", (merged) => merged === 1);
    // Feeds and logs have clocks of their own, and what excused an issuance stays: only the other is old enough.
    await bed.db.execute(
      { name: byHand, text: "UPDATE public.alerts SET seen_at = 0, recorded_at = 'epoch'" },
      10_000,
    );
    await program.waitForLog("deleted alerts older than the retention");
    for (const kind of ["retryable", "bad-data", "fatal"]) {
      expect((await program.metrics()).get(`certwatch_database_errors_total{kind="${kind}"}`)).toBe(0);
    }
    expect(await program.stop()).toBe(0);
  });

  test.each([
    "INSERT INTO public.certs (fingerprint_sha1, sans, not_before, not_after, added_at) VALUES ('a', '[]', 0, 0, 0)",
    "UPDATE public.certs SET source = 'x'",
    "DELETE FROM public.certs",
    "TRUNCATE public.certs",
    "SELECT FROM public.certs FOR UPDATE",
    "INSERT INTO public.intent_current VALUES ('evil.example')",
    "UPDATE public.intent_current SET fqdn = 'evil.example'",
    "DELETE FROM public.intent_current",
    "TRUNCATE public.intent_current",
    "DROP TABLE public.intent_current",
    "ALTER TABLE public.certs ADD COLUMN x INT",
    "TRUNCATE public.alerts",
    "ALTER TABLE public.alerts DROP COLUMN payload",
    "CREATE TRIGGER t BEFORE INSERT ON public.alerts FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE ROLE friend",
    "COPY public.alerts TO PROGRAM 'cat'",
  ])("cannot: %s", async (text) => {
    const error = await db.execute({ name: byHand, text }, 10_000).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(sqlState(error)).toBe("42501");
  });
});
