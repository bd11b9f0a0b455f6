import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { countAlerts } from "../../src/alerts/sql/count-alerts.ts";
import { pruneAlerts } from "../../src/alerts/sql/prune-alerts.ts";
import { applySchema } from "../../src/db/apply-schema.ts";
import { checkSchema, SchemaError } from "../../src/db/check-schema.ts";
import { startWebhookReceiver } from "../../src/demo/receiver.ts";
import { byHand } from "../support/by-hand.ts";
import { describeOnEveryDatabase } from "../support/databases.ts";
import { Replica } from "../support/outbox.ts";
import { type Cluster, type DatabaseSource, NO_POSTGRES, startCluster } from "../support/postgres.ts";
import { describeIfAvailable } from "../support/skip.ts";
import { final, insertInventory, inventoryRow, ours, precertificate, theirs } from "../support/updates.ts";

const deadlineMs = 60_000;
const schemaFile = fileURLToPath(new URL("../../schema.sql", import.meta.url));

/** The tables as the reference implementation makes them. */
const reference = `
  CREATE TABLE public.certs (fingerprint_sha1 TEXT PRIMARY KEY, serial TEXT, sans JSONB NOT NULL,
    not_before BIGINT NOT NULL, not_after BIGINT NOT NULL, source TEXT, added_at BIGINT NOT NULL);
  CREATE INDEX certs_not_after ON public.certs (not_after);
  CREATE TABLE public.alerts (id BIGSERIAL PRIMARY KEY, fingerprint TEXT NOT NULL, sans JSONB NOT NULL,
    matched JSONB NOT NULL, issuer TEXT, seen_at BIGINT NOT NULL, delivered BOOLEAN NOT NULL DEFAULT FALSE,
    severity TEXT NOT NULL DEFAULT 'suspicious');
  CREATE INDEX alerts_seen_at ON public.alerts (seen_at);
  CREATE TABLE public.intent_current (fqdn TEXT);
  INSERT INTO public.intent_current VALUES ('example.org'), (NULL), ('example.org');
  INSERT INTO public.alerts (fingerprint, sans, matched, issuer, seen_at, delivered, severity)
  SELECT md5(i::text), '["example.org"]', '["example.org"]', 'CN=x', EXTRACT(EPOCH FROM now())::bigint - i * 86400,
         i % 2 = 0, CASE WHEN i % 3 = 0 THEN 'info' ELSE 'suspicious' END
  FROM generate_series(0, 9) AS i;`;

const referenceAlerts =
  "SELECT id, fingerprint, sans, matched, issuer, seen_at, delivered, severity FROM public.alerts ORDER BY id";
/** Columns, constraints and indexes of the three tables, without the order of columns. */
const structure = `
  SELECT attrelid::regclass::text AS on, attname AS what, format_type(atttypid, atttypmod) || attnotnull AS how
  FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped
    AND attrelid IN ('public.alerts'::regclass, 'public.certs'::regclass, 'public.intent_current'::regclass)
  UNION ALL SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
  UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace
  ORDER BY 1, 2`;

/** Records, judges, delivers and prunes; what comes out is the verdict on own renewal and hijack. */
async function runThrough(replica: Replica): Promise<void> {
  const before = await replica.value<number>("SELECT COALESCE(max(id), 0) FROM public.alerts");
  const renewal = ours.issue({ dnsNames: ["example.org"] });
  const hijack = theirs.issue({ dnsNames: ["example.org"] });
  await insertInventory(replica.db, inventoryRow(renewal));
  await replica.process([precertificate(renewal), final(renewal), precertificate(hijack), final(hijack)]);
  const receiver = await startWebhookReceiver();
  try {
    await replica.deliver(receiver.url);
    expect(replica.errors).toEqual([]);
    expect(receiver.deliveries.map(({ json }) => (json as { severity: string }).severity).sort()).toEqual([
      "info",
      "suspicious",
    ]);
  } finally {
    await receiver.close();
  }
  const rows = (await replica.rows()).filter(({ id }) => id > before);
  expect(rows.map(({ severity, delivered }) => [severity, delivered])).toEqual([
    ["info", true],
    ["suspicious", true],
  ]);
  expect(await countAlerts(replica.db, deadlineMs)).toEqual({
    pending: 0,
    undelivered: 0,
    givenUp: 0,
    suspiciousLastHour: 1,
  });
}

describeOnEveryDatabase("the schema", (open) => {
  let source: DatabaseSource;
  const replicas: Replica[] = [];
  const open1 = async (sql: string) => {
    const replica = new Replica(await source.createDatabase({ schema: false }));
    replicas.push(replica);
    // The embedded database comes with its schema.
    await replica.query("DROP TABLE IF EXISTS public.alerts, public.certs, public.intent_current");
    if (sql !== "") await replica.db.execute({ name: byHand, text: sql }, deadlineMs);
    return replica;
  };
  beforeAll(async () => {
    source = await open();
  });
  afterAll(async () => {
    for (const replica of replicas) await replica.db.end();
    await source?.close();
  });

  test("is applied to an empty database, again, and again, which changes nothing", async () => {
    const replica = await open1("");
    await expect(checkSchema(replica.db, deadlineMs)).rejects.toThrow(
      /public.alerts does not exist.*certwatch migrate/s,
    );
    await applySchema(replica.db, deadlineMs);
    await checkSchema(replica.db, deadlineMs);
    const first = await replica.query(structure);
    await runThrough(replica);
    const rows = await replica.query("SELECT * FROM public.alerts ORDER BY id");
    await applySchema(replica.db, deadlineMs);
    await Promise.all([applySchema(replica.db, deadlineMs), applySchema(replica.db, deadlineMs)]);
    expect(await replica.query(structure)).toEqual(first);
    expect(await replica.query("SELECT * FROM public.alerts ORDER BY id")).toEqual(rows);
  });

  test("an index that an interrupted build left unfinished is built again", async () => {
    const replica = await open1("");
    await applySchema(replica.db, deadlineMs);
    const indexes = "SELECT indexrelid::regclass::text AS name, indisvalid FROM pg_index ORDER BY 1";
    const whole = await replica.query(indexes);
    await replica.query(
      "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.alerts_excuse_key'::regclass",
    );
    await replica.query("DROP INDEX public.alerts_event");
    await expect(checkSchema(replica.db, deadlineMs)).rejects.toThrow(
      /lacks the unique index alerts_event: .*certwatch migrate.*\n.*alerts_excuse_key/s,
    );
    await applySchema(replica.db, deadlineMs);
    expect(await replica.query(indexes)).toEqual(whole);
    await checkSchema(replica.db, deadlineMs);
  });

  test("two migrations at the same moment end well", async () => {
    const replica = await open1("");
    await Promise.all([applySchema(replica.db, deadlineMs), applySchema(replica.db, deadlineMs)]);
    await checkSchema(replica.db, deadlineMs);
  });

  test("goes on top of the reference's tables: rows stay, are never sent, and everything works", async () => {
    const replica = await open1(reference);
    const old = ours.issue({ dnsNames: ["example.org"] });
    await insertInventory(replica.db, inventoryRow(old));
    await expect(checkSchema(replica.db, deadlineMs)).rejects.toBeInstanceOf(SchemaError);
    const alerts = await replica.query(referenceAlerts);
    const upstream =
      "SELECT attrelid::regclass::text AS t, attname FROM pg_attribute WHERE attnum > 0 AND attrelid IN ('public.certs'::regclass, 'public.intent_current'::regclass) ORDER BY 1, 2";
    const columns = await replica.query(upstream);
    const certs = await replica.query("SELECT * FROM public.certs");
    await applySchema(replica.db, deadlineMs);
    await applySchema(replica.db, deadlineMs);
    await checkSchema(replica.db, deadlineMs);
    expect(await replica.query(referenceAlerts)).toEqual(alerts);
    expect(await replica.query(upstream)).toEqual(columns);
    expect(await replica.query("SELECT * FROM public.certs")).toEqual(certs);
    expect(
      await replica.query("SELECT indexname FROM pg_indexes WHERE tablename = 'certs' ORDER BY 1"),
    ).toEqual([{ indexname: "certs_not_after" }, { indexname: "certs_pkey" }]);
    // Two events are delivered, and nothing of the ten rows that were there.
    await runThrough(replica);
    expect((await replica.query(referenceAlerts)).slice(0, 10)).toEqual(alerts);
    // Those older than the retention go; their age is the feed's.
    const pruned = await pruneAlerts(replica.db, { retentionSeconds: 6.5 * 86_400, limit: 100, deadlineMs });
    expect(pruned).toEqual({ deleted: 3, undelivered: 2 });
  });

  test("leaves views with more columns alone, and the service reads them", async () => {
    const replica = await open1(`
      CREATE TABLE public.base (fp TEXT PRIMARY KEY, serial TEXT, sans JSONB, nb NUMERIC, na NUMERIC);
      CREATE VIEW public.certs AS SELECT fp AS fingerprint_sha1, serial, sans, nb AS not_before, na AS not_after,
        'upstream'::text AS source, 0::bigint AS added_at, 'more' AS more FROM public.base;
      CREATE RULE certs_insert AS ON INSERT TO public.certs DO INSTEAD
        INSERT INTO public.base VALUES (NEW.fingerprint_sha1, NEW.serial, NEW.sans, NEW.not_before, NEW.not_after);
      CREATE VIEW public.intent_current AS SELECT 'example.org'::text AS fqdn, 1 AS rank, now() AS at;`);
    const definitions = "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY 1";
    const before = await replica.query(definitions);
    await applySchema(replica.db, deadlineMs);
    await applySchema(replica.db, deadlineMs);
    expect(await replica.query(definitions)).toEqual(before);
    await checkSchema(replica.db, deadlineMs);
    await runThrough(replica);
    expect(await replica.verdicts()).toEqual(["info serial", "suspicious none"]);
  });

  test("the TBS column of an inventory that gets one later is used", async () => {
    const replica = await open1(reference);
    await applySchema(replica.db, deadlineMs);
    const renewal = ours.issue({ dnsNames: ["example.org"] });
    await replica.query("ALTER TABLE public.certs ADD COLUMN tbs_sha256 TEXT");
    await insertInventory(replica.db, inventoryRow(renewal, { tbs: true }));
    const rows = await replica.process([precertificate(renewal)]);
    expect(rows.at(-1)).toMatchObject({ severity: "info", match_basis: "tbs" });
  });

  test.each([
    ["public.certs", "sans", /public.certs lacks sans: it belongs to an upstream system/],
    ["public.intent_current", "fqdn", /public.intent_current lacks fqdn: it belongs to an upstream system/],
    ["public.alerts", "merged_keys", /public.alerts lacks merged_keys: apply the schema/],
  ])("without %s.%s the check says so", async (table, column, message) => {
    const [replica] = replicas as [Replica];
    await replica.query(`ALTER TABLE ${table} RENAME COLUMN ${column} TO away`);
    await expect(checkSchema(replica.db, deadlineMs)).rejects.toThrow(message);
    await replica.query(`ALTER TABLE ${table} RENAME COLUMN away TO ${column}`);
    await checkSchema(replica.db, deadlineMs);
  });
});

describeIfAvailable("a role with the least privileges on PostgreSQL", NO_POSTGRES, () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await startCluster();
  });
  afterAll(() => cluster?.close());

  describe("SELECT on upstream's tables, and all four on alerts and its sequence", () => {
    test("is enough; what is missing is named with the GRANT that mends it", async () => {
      const dsn = await cluster.createDatabase();
      const owner = new Replica(dsn);
      await owner.query("CREATE ROLE certwatch LOGIN");
      const replica = new Replica(dsn.replace("postgres@/", "certwatch@/"));
      try {
        await expect(checkSchema(replica.db, deadlineMs)).rejects.toThrow(
          "GRANT SELECT, INSERT, UPDATE, DELETE ON public.alerts TO certwatch;",
        );
        await owner.query("GRANT SELECT ON public.certs, public.intent_current TO certwatch");
        await owner.query("GRANT SELECT, INSERT, UPDATE, DELETE ON public.alerts TO certwatch");
        await expect(checkSchema(replica.db, deadlineMs)).rejects.toThrow(
          "GRANT USAGE ON SEQUENCE public.alerts_id_seq TO certwatch;",
        );
        await owner.query("GRANT USAGE ON SEQUENCE public.alerts_id_seq TO certwatch");
        await checkSchema(replica.db, deadlineMs);
        const renewal = ours.issue({ dnsNames: ["example.org"] });
        await insertInventory(owner.db, inventoryRow(renewal, { tbs: true }));
        await replica.process([precertificate(renewal), final(theirs.issue({ dnsNames: ["example.org"] }))]);
        const receiver = await startWebhookReceiver();
        await replica.deliver(receiver.url);
        await receiver.close();
        await pruneAlerts(replica.db, { retentionSeconds: 1, limit: 10, deadlineMs });
        expect(replica.errors).toEqual([]);
        expect((await replica.rows()).map(({ delivered }) => delivered)).toEqual([true, true]);
        await expect(replica.query("DELETE FROM public.certs")).rejects.toThrow("permission denied");
      } finally {
        await replica.db.end();
        await owner.db.end();
      }
    });
  });

  test("psql applies the file as it stands, again and again, and makes what certwatch migrate makes", async () => {
    const dsns = await Promise.all([1, 2].map(() => cluster.createDatabase({ schema: false })));
    const [byProgram, byPsql] = dsns.map((dsn) => new Replica(dsn)) as [Replica, Replica];
    try {
      await applySchema(byProgram.db, deadlineMs);
      for (const _ of [1, 2]) {
        const { status, stderr } = spawnSync("psql", ["-v", "ON_ERROR_STOP=1", "-f", schemaFile, dsns[1]!], {
          encoding: "utf8",
        });
        expect([status, stderr.replaceAll(/^.*NOTICE:.*\n/gm, "")]).toEqual([0, ""]);
      }
      expect(await byPsql.query(structure)).toEqual(await byProgram.query(structure));
    } finally {
      await byProgram.db.end();
      await byPsql.db.end();
    }
  });
});
