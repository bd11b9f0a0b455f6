import { afterAll, beforeAll, expect, test } from "vitest";
import type { Database } from "../../src/db/pool.ts";
import type { Sql } from "../../src/db/statement.ts";
import { Inventory } from "../../src/inventory/recognise.ts";
import type { PendingCertificate } from "../../src/issuance/pending.ts";
import { byHand } from "../support/by-hand.ts";
import { delegate, Replica } from "../support/outbox.ts";
import { type DatabaseSource, NO_POSTGRES_OR_DSN, openPostgres } from "../support/postgres.ts";
import { describeIfAvailable } from "../support/skip.ts";

const rows = 1_000_000;
const alerts = 1_000;
/** The aim is one second; the machine that runs this may be busy. */
const generousMs = 10_000;

interface PlanNode {
  "Node Type": string;
  "Relation Name"?: string;
  "Index Name"?: string;
  Plans?: PlanNode[];
}

const nodesOf = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(nodesOf)];

describeIfAvailable("an inventory of a million certificates on PostgreSQL", NO_POSTGRES_OR_DSN, () => {
  let source: DatabaseSource;
  let replica: Replica;
  beforeAll(async () => {
    source = await openPostgres();
    replica = new Replica(await source.createDatabase());
    // The schema's own indexes, made when the rows are there: that is quicker.
    const secondary =
      "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'certs' AND indexname <> 'certs_pkey'";
    const indexes = await replica.query<{ indexname: string; indexdef: string }>(secondary);
    await replica.query(`DROP INDEX ${indexes.map(({ indexname }) => `public.${indexname}`).join(", ")}`);
    const insert = `
      INSERT INTO public.certs
      SELECT substr(md5('f' || i) || md5('g' || i), 1, 40), to_hex(i::bigint * 7919 + 1000000007), '["example.org"]',
             1760000000 + i % 90, 1767776000 + i % 90, 'test', 1760000000, md5('t' || i) || md5('u' || i)
      FROM generate_series(1, ${rows}) AS i`;
    for (const text of [insert, ...indexes.map(({ indexdef }) => indexdef)]) {
      await replica.db.execute({ name: byHand, text }, 180_000);
    }
  }, 240_000);
  afterAll(async () => {
    await replica?.db.end();
    await source?.close();
  });

  /** A thousand precertificates: a quarter each is known by fingerprint, by TBS hash, by serial number, and unknown. */
  async function thousand(): Promise<PendingCertificate[]> {
    const hashes = await replica.query<{ fingerprint: string; tbs: string }>(
      `SELECT substr(md5('f' || i) || md5('g' || i), 1, 40) AS fingerprint, md5('t' || i) || md5('u' || i) AS tbs
       FROM generate_series(0, ${alerts - 1}) AS k, LATERAL (SELECT 1 + k * 997 AS i) AS row ORDER BY k`,
    );
    return hashes.map(({ fingerprint, tbs }, k) => {
      const i = 1 + k * 997;
      return {
        id: k,
        issuanceId: String(k),
        fingerprint: k % 4 === 0 ? fingerprint : `${fingerprint.slice(1)}x`,
        tbsSha256: k % 4 === 1 ? tbs : null,
        sans: ["example.org"],
        derState: null,
        rowBytes: 1_300,
        dnsNames: null,
        subjectCn: null,
        isCnWatched: false,
        serialKey: null,
        seenAt: 0,
        serial: k % 4 === 2 ? `00${(i * 7919 + 1000000007).toString(16)}` : "ab12",
        notBefore: 1760000000 + (i % 90),
        notAfter: 1767776000 + (i % 90),
        updateType: "PrecertLogEntry",
      };
    });
  }

  test.each(["before it was ever analyzed", "after ANALYZE"])(
    "judges a thousand alerts, %s",
    async (when) => {
      if (when === "after ANALYZE")
        await replica.db.execute({ name: byHand, text: "ANALYZE public.certs" }, 60_000);
      const certificates = await thousand();
      const asked: Sql[] = [];
      const spy: Database = {
        ...delegate(replica.db),
        query: (sql, ms) => {
          asked.push(sql);
          return replica.db.query(sql, ms);
        },
      };
      const inventory = new Inventory(spy, "serial");
      const startedMs = performance.now();
      const matches = await inventory.recognise(certificates);
      const tookMs = performance.now() - startedMs;
      console.log(`${alerts} alerts against ${rows} rows of certs, ${when}: ${Math.round(tookMs)} ms`);
      const bases = [0, 1, 2, 3].map((kind) => matches.get(kind)!.basis);
      expect(bases).toEqual(["fingerprint", "tbs", "serial", "none"]);
      expect([...matches].every(([id, { basis }]) => basis === bases[id % 4])).toBe(true);
      expect(tookMs).toBeLessThan(generousMs);

      // Without statistics the planner may read the table from end to end, as it has just done in a second or two.
      if (when !== "after ANALYZE") return;
      const onCerts = asked.filter(({ name }) => name.startsWith("find by "));
      const indexes: (string | undefined)[] = [];
      for (const { text, values } of onCerts) {
        const [row] = await replica.query<{ "QUERY PLAN": [{ Plan: PlanNode }] }>(
          `EXPLAIN (FORMAT JSON) ${text}`,
          [...(values ?? [])],
        );
        const nodes = nodesOf(row!["QUERY PLAN"][0].Plan);
        const scans = nodes.filter((node) => node["Relation Name"] === "certs");
        expect(scans.map((node) => node["Node Type"])).not.toContain("Seq Scan");
        indexes.push(...nodes.map((node) => node["Index Name"]).filter((name) => name?.startsWith("certs_")));
      }
      expect(indexes).toEqual(["certs_pkey", "certs_tbs_sha256", "certs_serial"]);
    },
    60_000,
  );
});
