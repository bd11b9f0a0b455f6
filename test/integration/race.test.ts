import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Issuance } from "../../src/demo/certificates.ts";
import { Replica } from "../support/outbox.ts";
import { type DatabaseSource, NO_POSTGRES_OR_DSN, openPostgres } from "../support/postgres.ts";
import { describeIfAvailable } from "../support/skip.ts";
import {
  final,
  insertInventory,
  inventoryRow,
  ours,
  precertificate,
  theirs,
  willow,
} from "../support/updates.ts";

const dnsNames = ["example.org"];
const copyOf = ({ fields }: Issuance, authority = ours) =>
  authority.issue({
    dnsNames,
    serial: Buffer.from(fields.serialHex, "hex"),
    notBeforeEpochSeconds: fields.notBeforeEpochSeconds,
    notAfterEpochSeconds: fields.notAfterEpochSeconds,
  });

describeIfAvailable("two replicas on PostgreSQL", NO_POSTGRES_OR_DSN, () => {
  let source: DatabaseSource;
  let dsn: string;
  let replicas: [Replica, Replica];
  beforeAll(async () => {
    source = await openPostgres();
    dsn = await source.createDatabase();
    replicas = [new Replica(dsn), new Replica(dsn)];
  });
  afterAll(async () => {
    for (const { db } of replicas ?? []) await db.end();
    await source?.close();
  });
  beforeEach(async () => {
    await replicas[0].emptyTables();
    for (const { errors } of replicas) errors.length = 0;
  });

  const noErrors = () => expect(replicas.flatMap(({ errors }) => errors)).toEqual([]);

  /**
   * Lets two sessions meet in their judgement: each waits, before its first UPDATE, until two have come there, so that
   * neither sees what the other decides.
   */
  async function meetInJudgement(): Promise<() => Promise<void>> {
    const [one] = replicas;
    await one.query("CREATE SEQUENCE arrivals");
    // A statement trigger runs once, even where the statement changes no row. A sequence is seen before any commit.
    await one.query(`
      CREATE FUNCTION meet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM nextval('arrivals');
        FOR i IN 1..2000 LOOP
          EXIT WHEN (SELECT last_value FROM arrivals) >= 2;
          PERFORM pg_sleep(0.005);
        END LOOP;
        RETURN NULL;
      END $$`);
    await one.query(
      "CREATE TRIGGER meet BEFORE UPDATE ON public.alerts FOR EACH STATEMENT EXECUTE FUNCTION meet()",
    );
    return async () => {
      expect(await one.value<number>("SELECT last_value FROM arrivals")).toBeGreaterThanOrEqual(2);
      await one.query("DROP FUNCTION meet CASCADE");
      await one.query("DROP SEQUENCE arrivals");
    };
  }

  /** Each replica has one of the two to judge, and they do so at the same moment; then what is left over. */
  async function judgeAtOnce(): Promise<void> {
    const [one, two] = replicas;
    const [first, second] = [one.recorded.splice(0), two.recorded.splice(0)];
    const part = await meetInJudgement();
    try {
      // The due certificates of `deliver: true` are the same for both: the first looks tell them apart.
      await Promise.all([one.judge({ firstLook: first }), two.judge({ firstLook: second })]);
    } finally {
      await part();
    }
    await one.judge();
  }

  describe("who judge two certificates of one issuance at the same moment", () => {
    test("make one suspicious event of a hijack", async () => {
      const hijack = theirs.issue({ dnsNames });
      await replicas[0].record([precertificate(hijack), final(hijack)]);
      await judgeAtOnce();
      const rows = await replicas[0].rows();
      expect(rows).toMatchObject([{ severity: "suspicious", is_due: true }]);
      expect(rows[0]!.merged_keys).toHaveLength(1);
      noErrors();
    });

    test("make one info of an own renewal, each having one of the two", async () => {
      const renewal = ours.issue({ dnsNames });
      await insertInventory(replicas[0].db, inventoryRow(renewal));
      await replicas[0].record([precertificate(renewal)], { graceSeconds: 3600 });
      await replicas[1].record([final(renewal)], { graceSeconds: 3600 });
      await judgeAtOnce();
      const rows = await replicas[0].rows();
      expect(rows).toMatchObject([{ severity: "info", is_due: true }]);
      expect(rows[0]!.merged_keys).toHaveLength(1);
      noErrors();
    });

    test("make two suspicious events of two TBS hashes", async () => {
      const renewal = theirs.issue({ dnsNames });
      await replicas[0].record([final(renewal), final(copyOf(renewal, theirs))]);
      await judgeAtOnce();
      await replicas[0].judge();
      expect(await replicas[0].verdicts()).toEqual(["suspicious none", "suspicious none"]);
      noErrors();
    });

    test("merge two certificates of two TBS hashes into an event without one, and make a second event", async () => {
      const renewal = theirs.issue({ dnsNames });
      await replicas[0].process([precertificate(renewal, { log: willow })]);
      await replicas[0].record([final(renewal), final(copyOf(renewal, theirs))]);
      await judgeAtOnce();
      await replicas[1].judge();
      expect(await replicas[0].verdicts()).toEqual(["suspicious none", "suspicious none"]);
      noErrors();
    });
  });

  test("who excuse two issuances by one inventory row at the same moment excuse one", async () => {
    const renewal = ours.issue({ dnsNames });
    await insertInventory(replicas[0].db, inventoryRow(renewal));
    await replicas[0].record([precertificate(renewal)], { graceSeconds: 3600 });
    await replicas[1].record([precertificate(copyOf(renewal, theirs))], { graceSeconds: 3600 });
    await judgeAtOnce();
    await replicas[0].query("UPDATE public.alerts SET judge_at = now() WHERE severity = 'pending'");
    await replicas[1].judge();
    expect((await replicas[0].verdicts()).sort()).toEqual(["info serial", "suspicious none"]);
    noErrors();
  });

  test("who race, round after round, with all kinds at once, make one event of each issuance", async () => {
    const rounds = 15;
    for (let round = 0; round < rounds; round += 1) {
      const [hijack, renewal, tiled] = [theirs, ours, theirs].map((authority) =>
        authority.issue({ dnsNames }),
      );
      await insertInventory(replicas[0].db, inventoryRow(renewal!, { tbs: round % 2 === 0 }));
      const updates = [
        ...[precertificate(hijack!), final(hijack!)],
        ...[precertificate(renewal!, { log: willow }), precertificate(renewal!), final(renewal!)],
        ...[precertificate(tiled!, { log: willow }), final(tiled!)],
      ];
      await Promise.all(
        replicas.map(async (replica, i) => {
          const mine = i === 0 ? updates : [...updates].reverse();
          await replica.record(mine, {
            onRecorded: (certificates) => void replica.recorded.push(...certificates),
          });
          await replica.judge({ firstLook: replica.recorded.splice(0) });
          await replica.judge();
        }),
      );
    }
    await replicas[0].judge();
    const verdicts = await replicas[0].query(
      `SELECT severity, count(*) AS events, count(DISTINCT issuance_id) AS issuances,
              sum(cardinality(ARRAY(SELECT DISTINCT unnest(merged_keys)))) AS merged
       FROM public.alerts GROUP BY 1 ORDER BY 1`,
    );
    expect(verdicts).toEqual([
      { severity: "info", events: rounds, issuances: rounds, merged: 2 * rounds },
      { severity: "suspicious", events: 2 * rounds, issuances: 2 * rounds, merged: 2 * rounds },
    ]);
    noErrors();
  });
});
