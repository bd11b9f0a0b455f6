import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { addToInventory } from "../../src/demo/upstream.ts";
import { type Bed, entryOf, isFor, openBed } from "../program/bed.ts";
import { type Cluster, NO_POSTGRES, startCluster } from "../support/postgres.ts";
import { endPrograms, runProgram } from "../support/program.ts";
import { describeIfAvailable, missing } from "../support/skip.ts";

// Up to PostgreSQL 14 everybody may create functions, operators and types in the schema public. Postgres takes such a
// function in place of its own where the types of its arguments fit better, or where public comes first in the path.

const root = fileURLToPath(new URL("../../", import.meta.url));
const schemaFile = `${root}schema.sql`;
const sources = readdirSync(`${root}src`, { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts") && !file.startsWith("demo/"))
  .map((file) => ({ file: `src/${file}`, text: readFileSync(`${root}src/${file}`, "utf8") }));

/** The SQL of a source file: its texts that have an SQL keyword, or are used where SQL is. */
const sqlIn = (text: string) =>
  (text.match(/`[^`]*`/g) ?? []).filter((one) =>
    /\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|WHERE|COALESCE|EXTRACT|CASE WHEN|IS NULL)\b|::\w|\bpg_catalog\./.test(
      one,
    ),
  );
const sql = [
  ...sources.flatMap(({ file, text }) => sqlIn(text).map((one) => ({ file, text: one }))),
  { file: "schema.sql", text: readFileSync(schemaFile, "utf8").replaceAll(/--.*$/gm, "") },
];

/** What stands right before a parenthesis and calls no function that has a name to look up. */
const syntax = ["ARRAY", "COALESCE", "EXTRACT", "GREATEST", "LEAST", "NULLIF", "OPERATOR"];

test("every function in our SQL is named with pg_catalog, and every table with its schema", () => {
  const found = sql.flatMap(({ file, text }) => {
    const bare = text
      .replaceAll(/\$\{[^}]*\}|--.*$/gm, "$1")
      .replaceAll(/'[^']*'|"[^"]*"/g, "''")
      .replaceAll(/\bAS \w+\(/g, "AS record (");
    const calls = [...bare.matchAll(/(?<![\w.$])([a-z_]\w*)\(/gi)].filter(
      ([, name]) => !syntax.includes(name!),
    );
    const tables = [
      ...bare.matchAll(/\b(?:FROM|JOIN|INTO|UPDATE) (?:pg_\w+|alerts|certs|intent_current)\b(?!\.)/g),
    ];
    return [...calls, ...tables].map(([match]) => `${file}: ${match}`);
  });
  expect(sql.length).toBeGreaterThan(30);
  expect(found).toEqual([]);
});

const types = (
  "text character_varying bpchar name smallint integer bigint numeric float8 boolean json jsonb text[] timestamptz " +
  "interval oid regclass bigint[] character_varying[]"
)
  .split(" ")
  .map((type) => type.replace("_", " "));
const operators = "= <> < <= > >= + - * || -> ->> #>> @> ~~ !~~ ~".split(" ");
const names = [
  ...new Set(
    sql.flatMap(({ text }) => [...text.matchAll(/\bpg_catalog\.(\w+)\(/g)].map(([, name]) => name!)),
  ),
];

/** A stranger's functions, operators and types. Each raises an exception when it is used. */
async function createStandIns(dsn: string): Promise<void> {
  const client = new pg.Client({ connectionString: dsn });
  await client.connect();
  const raise = "LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$";
  const made: string[] = [];
  for (const left of types) {
    for (const right of types) {
      for (const [name, result] of [
        ["is", "boolean"],
        ["makes", "text"],
        ["same", left],
      ])
        made.push(
          `CREATE FUNCTION public.stand_in_${name}("${left}", "${right}") RETURNS ${result} ${raise}`.replaceAll(
            '"',
            "",
          ),
        );
      for (const operator of operators) {
        const kind = /^(->>|#>>|\|\|)$/.test(operator)
          ? "makes"
          : /^([-+*]|->)$/.test(operator)
            ? "same"
            : "is";
        made.push(
          `CREATE OPERATOR public.${operator} (FUNCTION = public.stand_in_${kind}, LEFTARG = ${left}, RIGHTARG = ${right})`,
        );
      }
    }
  }
  for (const name of names) {
    made.push(`CREATE FUNCTION public.${name}() RETURNS text ${raise}`);
    for (const type of types) {
      made.push(`CREATE FUNCTION public.${name}(${type}) RETURNS ${type} ${raise}`);
      made.push(`CREATE FUNCTION public.${name}(${type}, text) RETURNS ${type} ${raise}`);
    }
    made.push(`CREATE FUNCTION public.${name}(text, text, text) RETURNS text ${raise}`);
    made.push(`CREATE FUNCTION public.${name}(varchar, text, text, text) RETURNS text ${raise}`);
  }
  for (const type of ["text", "jsonb", "json", "float8", "timestamptz", "bytea", "oid", "regclass"])
    made.push(`CREATE DOMAIN public.${type} AS pg_catalog.${type} CHECK (public.stand_in_is('', ''))`);
  for (const table of ["pg_class", "pg_index", "pg_attribute", "pg_stat_progress_create_index"])
    made.push(`CREATE VIEW public.${table} AS SELECT public.stand_in_makes('', '') AS relname`);
  await client.query(`SET search_path = pg_catalog; ${made.join(";\n")}`);
  await client.end();
}

describeIfAvailable("a stranger who may create in public", NO_POSTGRES ?? missing("psql"), () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await startCluster({ conf: ["max_locks_per_transaction = 1000"] });
    execFileSync("psql", [cluster.dsn(), "-Xqc", "CREATE ROLE stranger LOGIN"]);
  });
  afterEach(endPrograms);
  afterAll(() => cluster?.close());

  test.each([
    ["varchar", '"$user", public'],
    ["text", "public, pg_catalog"],
  ])("cannot stand in for anything: columns of type %s, search_path %s", async (type, path) => {
    const dsn = await cluster.createDatabase({ schema: false });
    const psql = (...args: string[]) =>
      execFileSync("psql", [dsn, "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", ...args], {
        encoding: "utf8",
        stdio: "pipe",
      });
    psql("-c", "GRANT CREATE ON SCHEMA public TO PUBLIC");
    psql(
      "-c",
      `CREATE TABLE public.intent_current (fqdn ${type});
       CREATE TABLE public.certs (fingerprint_sha1 ${type} PRIMARY KEY, serial ${type}, sans JSONB NOT NULL,
         not_before BIGINT NOT NULL, not_after BIGINT NOT NULL, source ${type}, added_at BIGINT NOT NULL)`,
    );
    await createStandIns(dsn.replace("postgres@", "stranger@"));
    psql("-c", `ALTER DATABASE ${psql("-c", "SELECT current_database()").trim()} SET search_path = ${path}`);

    const certwatch = async (...args: string[]) => {
      const { status, output } = await runProgram(args, { POSTGRES_DSN: dsn });
      expect([args, status, output]).toEqual([args, 0, expect.not.stringContaining("hijacked")]);
      return output;
    };
    await certwatch("migrate");
    await certwatch("migrate");
    psql("-f", schemaFile);
    await certwatch("migrate", "--inventory");
    await certwatch("watch", "add", "watched.example", "second.example");
    await certwatch("watch", "remove", "second.example");

    const bed: Bed = await openBed(dsn);
    try {
      await live(bed);
      await certwatch("alerts");
      await certwatch("alerts", "--since", "1h", "--severity", "suspicious");
      await certwatch("redeliver", "--dry-run");
      await certwatch("redeliver", "--include-observed", "--since", "1h");
      await certwatch("inventory", "list", "--name", "known.watched.example");
      const listed = await certwatch("inventory", "list", "--json");
      const [first] = listed
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
      await certwatch("inventory", "remove", first.fingerprint_sha1);
      bed.receiver.setBehaviour(200);
      // What was given up is due again; what is old is pruned.
      const program = await bed.start({ ALERT_RETENTION_S: "1", CLEANUP_INTERVAL_S: "1" });
      await program.waitForLog("deleted alerts older than the retention");
      expect(await program.stop()).toBe(0);
      expect(program.output).not.toMatch(/hijacked|"level":"(error|fatal)"/);
    } finally {
      await bed.close();
    }
  });

  /** Records, judges and delivers: known by each kind of evidence, unknown, merged, given up, cleared by a late inventory. */
  async function live(bed: Bed): Promise<void> {
    const program = await bed.start({ WEBHOOK_MAX_ATTEMPTS: "1", CLEANUP_INTERVAL_S: "1" });
    const [known, precert, unknown, late, refused] = ["known", "precert", "unknown", "late", "refused"].map(
      (name) => entryOf({ dnsNames: [`${name}.watched.example`] }),
    );
    await addToInventory(bed.db, [known!.issuance, precert!.issuance], "test");
    bed.receiver.setBehaviour((delivery) => (isFor("refused.watched.example")(delivery) ? 410 : 200));
    await bed.simulator.publish(known!, { ...precert!, kind: "PrecertLogEntry" }, unknown!, late!, refused!);
    await bed.simulator.publish({ ...unknown!, kind: "PrecertLogEntry" }, precert!);
    for (const name of ["known", "precert", "unknown", "late", "refused"])
      await bed.receiver.waitFor(isFor(`${name}.watched.example`));
    await program.waitForMetric("certwatch_alerts_merged_total", (value) => value >= 1);
    await program.waitForMetric("certwatch_alerts_given_up_total", (value) => value === 1);
    await program.waitForMetric("certwatch_alerts_given_up", (value) => value === 1);
    await addToInventory(bed.db, [late!.issuance], "test");
    const metrics = await program.metrics();
    for (const [series, value] of metrics)
      if (series.startsWith("certwatch_database_statement_errors_total"))
        expect([series, value]).toEqual([series, 0]);
    expect(await program.stop()).toBe(0);
    expect(program.output).not.toContain("hijacked");
  }
});
