import { beforeAll, beforeEach, expect, test } from "vitest";
import type { Database } from "../../src/db/pool.ts";
import { checkInventoryTable } from "../../src/inventory/table-check.ts";
import { byHand } from "../support/by-hand.ts";
import { describeOnEveryDatabase, openDatabase } from "../support/databases.ts";
import { runProgram } from "../support/program.ts";

const deadlineMs = 20_000;
/** The table of the reference implementation. */
const reference = `CREATE TABLE public.certs (fingerprint_sha1 TEXT PRIMARY KEY, serial TEXT, sans JSONB NOT NULL,
  not_before BIGINT NOT NULL, not_after BIGINT NOT NULL, source TEXT, added_at BIGINT NOT NULL)`;

describeOnEveryDatabase("migrate", (open) => {
  let dsn: string;
  let db: Database;
  const migrate = (...args: string[]) => runProgram(["migrate", ...args], { POSTGRES_DSN: dsn });
  const run = (text: string) => db.execute({ name: byHand, text }, deadlineMs);
  const indexes = async () => {
    const rows = await db.query<{ name: string; valid: boolean }>(
      {
        name: byHand,
        text: `SELECT relname::text AS name, indisvalid AS valid FROM pg_index JOIN pg_class ON oid = indexrelid
               WHERE indrelid = 'public.certs'::regclass AND NOT indisprimary ORDER BY 1`,
      },
      deadlineMs,
    );
    return rows.map(({ name, valid }) => (valid ? name : `${name} (invalid)`));
  };
  beforeAll(async () => {
    const opened = await openDatabase(open, { schema: false });
    ({ dsn, db } = opened);
    return opened.close;
  });
  beforeEach(() => run("DROP SCHEMA public CASCADE; CREATE SCHEMA public"));

  test("creates the tables, which lack nothing; again and again", async () => {
    for (let time = 0; time < 2; time++) {
      const { status, stdout } = await migrate();
      expect(stdout).toMatch(/^The schema is up to date: /);
      expect(status).toBe(0);
    }
    expect(await checkInventoryTable(db, deadlineMs)).toEqual([]);
    expect((await migrate("--inventory")).stdout).toBe(
      "public.certs has the column tbs_sha256 and both indexes already.\n",
    );
  });

  test.each(["TEXT", "VARCHAR(80)"])(
    "--inventory mends an existing table, serial %s, and keeps its rows",
    async (type) => {
      await run(reference.replace("serial TEXT", `serial ${type}`));
      await run("INSERT INTO public.certs VALUES ('aa', '00:0A', '[]', 1, 2, 'upstream', 3)");
      const problems = await checkInventoryTable(db, deadlineMs);
      expect(problems).toHaveLength(2);
      expect(problems[0]).toMatch(
        /^public\.certs has no column tbs_sha256, .*: run "certwatch migrate --inventory"\.$/,
      );
      expect(problems[1]).toMatch(
        / has no index for lookups by serial number, .*: run "certwatch migrate --inventory"\.$/,
      );

      const { status, stdout } = await migrate("--inventory");
      expect(stdout.split("\n").slice(0, 3)).toEqual([
        "public.certs: adding the column tbs_sha256",
        expect.stringMatching(/^public\.certs: building the index certs_tbs_sha256 /),
        expect.stringMatching(/^public\.certs: building the index certs_serial /),
      ]);
      expect(status).toBe(0);
      expect(await indexes()).toEqual(["certs_serial", "certs_tbs_sha256"]);
      expect(await checkInventoryTable(db, deadlineMs)).toEqual([]);
      expect((await migrate("--inventory")).stdout).toContain("both indexes already");
      expect(await db.query({ name: byHand, text: "SELECT * FROM public.certs" }, deadlineMs)).toMatchObject([
        { serial: "00:0A", source: "upstream", tbs_sha256: null },
      ]);
    },
  );

  test("--inventory rebuilds an index that an interrupted build left invalid", async () => {
    await run(`${reference}; ALTER TABLE public.certs ADD COLUMN tbs_sha256 TEXT;
               INSERT INTO public.certs VALUES ('a', '1', '[]', 1, 2, '', 3, 'x'), ('b', '2', '[]', 1, 2, '', 3, 'x')`);
    // What stands there after a build that failed half-way: here, because the values are not unique.
    await expect(
      run("CREATE UNIQUE INDEX CONCURRENTLY certs_tbs_sha256 ON public.certs (tbs_sha256)"),
    ).rejects.toMatchObject({ code: "23505" });
    expect(await indexes()).toEqual(["certs_tbs_sha256 (invalid)"]);
    expect(await checkInventoryTable(db, deadlineMs)).toHaveLength(2);

    const { status, stdout } = await migrate("--inventory");
    expect(stdout).toContain("public.certs: dropping the index certs_tbs_sha256, left unfinished");
    expect(status).toBe(0);
    expect(await indexes()).toEqual(["certs_serial", "certs_tbs_sha256"]);
  });

  test("--inventory leaves indexes of upstream alone and uses those that serve", async () => {
    await run(`${reference}; ALTER TABLE public.certs ADD COLUMN tbs_sha256 TEXT;
               CREATE INDEX upstream_tbs ON public.certs (tbs_sha256, source);
               CREATE INDEX certs_serial ON public.certs (serial)`);
    const { status } = await migrate("--inventory");
    expect(status).toBe(0);
    expect(await indexes()).toEqual(["certs_serial", "certwatch_certs_serial", "upstream_tbs"]);
    expect(await checkInventoryTable(db, deadlineMs)).toEqual([]);
  });

  test("--inventory tells the owner of a view, and of a partitioned table, what to do", async () => {
    await run("CREATE VIEW public.certs AS SELECT 'x'::text AS fingerprint_sha1, ''::text AS serial");
    const view = await migrate("--inventory");
    expect(view.stderr).toMatch(
      /public\.certs is a view, which certwatch does not change\. Its owner has to\n .*tbs_sha256/,
    );
    expect((await checkInventoryTable(db, deadlineMs)).at(-1)).toMatch(
      /it is a view, "certwatch migrate --inventory" says/,
    );
    await run(`DROP VIEW public.certs; ${reference} PARTITION BY HASH (fingerprint_sha1)`);
    const partitioned = await migrate("--inventory");
    const advised = partitioned.stderr.split("\n").filter((line) => line.startsWith("  "));
    expect(advised).toHaveLength(3);
    await run(advised.join("\n"));
    expect(await checkInventoryTable(db, deadlineMs)).toEqual([]);
    await run("DROP TABLE public.certs");
    const none = await migrate("--inventory");
    expect(none.stderr).toContain('there is no public.certs: create the tables with "certwatch migrate"');
    expect([view, partitioned, none].map(({ status }) => status)).toEqual([1, 1, 1]);
    expect(await checkInventoryTable(db, deadlineMs)).toEqual([]);
  });
});
