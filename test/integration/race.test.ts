import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Delivery } from "../../src/alerts/outbox.ts";
import { outcomeOf } from "../../src/alerts/outcome.ts";
import { claimDeliveries } from "../../src/alerts/sql/claim-deliveries.ts";
import { releaseDeliveries, settleDeliveries } from "../../src/alerts/sql/settle-deliveries.ts";
import { startWebhookReceiver } from "../../src/demo/receiver.ts";
import { byHand } from "../support/by-hand.ts";
import {
  delegate,
  mergedCertificates,
  oneStep,
  openReplicas,
  type Replica,
  startAfresh,
} from "../support/outbox.ts";
import { NO_POSTGRES_OR_DSN, openPostgres } from "../support/postgres.ts";
import { describeIfAvailable } from "../support/skip.ts";
import {
  copyOf,
  final,
  insertInventory,
  inventoryRow,
  ours,
  precertificate,
  theirs,
  willow,
} from "../support/updates.ts";
import { waitUntil } from "../support/wait.ts";

const dnsNames = ["example.org"];
const deadlineMs = 20_000;

describeIfAvailable("two replicas on PostgreSQL", NO_POSTGRES_OR_DSN, () => {
  let replicas: [Replica, Replica];
  beforeAll(async () => {
    const opened = await openReplicas(openPostgres);
    replicas = [opened.replica, opened.other];
    return opened.close;
  });
  beforeEach(() => startAfresh(...replicas));

  const noErrors = () => expect(replicas.flatMap(({ errors }) => errors)).toEqual([]);

  let meetings = 4242;

  /**
   * Lets two sessions meet in their judgement: each waits, before its first UPDATE, until two have come there, so that
   * neither sees what the other decides. Advisory locks are seen by all at once, and these last as long as the session.
   */
  async function meetInJudgement(): Promise<() => Promise<void>> {
    const [one] = replicas;
    meetings += 1;
    const arrived = `SELECT count(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = ${meetings}`;
    await one.query(`
      CREATE FUNCTION meet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_advisory_lock_shared(${meetings});
        FOR i IN 1..2000 LOOP
          EXIT WHEN (${arrived}) >= 2;
          PERFORM pg_sleep(0.005);
        END LOOP;
        RETURN NULL;
      END $$`);
    // A statement's trigger runs even where the statement changes no row.
    await one.query(
      "CREATE TRIGGER meet BEFORE UPDATE ON public.alerts FOR EACH STATEMENT EXECUTE FUNCTION meet()",
    );
    return async () => {
      expect(await one.value<number>(arrived)).toBeGreaterThanOrEqual(2);
      await one.query("DROP FUNCTION meet CASCADE");
    };
  }

  /** Each replica finds another one of the two certificates due, and they judge at the same moment. */
  async function judgeAtOnce(): Promise<void> {
    const part = await meetInJudgement();
    const whole = replicas.map(({ db }) => db);
    for (const [i, replica] of replicas.entries()) {
      const { db } = replica;
      replica.db = {
        ...delegate(db),
        query: async <Row>(sql: Parameters<typeof db.query>[0], ms: number) => {
          const rows = await db.query<Row>(sql, ms);
          return sql.name === "find due certificates" ? rows.slice(i, i + 1) : rows;
        },
      };
    }
    try {
      await Promise.all(replicas.map((replica) => replica.judge()));
    } finally {
      for (const [i, replica] of replicas.entries()) replica.db = whole[i]!;
      await part();
    }
    // What one of them had to leave for another look.
    await replicas[0].judge();
  }

  describe("who judge two certificates of one issuance at the same moment", () => {
    test("make one suspicious event of a hijack", async () => {
      const hijack = theirs.issue({ dnsNames });
      await replicas[0].record([precertificate(hijack), final(hijack)]);
      await judgeAtOnce();
      const rows = await replicas[0].rows();
      expect(rows).toMatchObject([{ severity: "suspicious", is_due: true }]);
      expect(mergedCertificates(rows[0]!)).toHaveLength(1);
      noErrors();
    });

    test("make one info of an own renewal, each having one of the two", async () => {
      const renewal = ours.issue({ dnsNames });
      await insertInventory(replicas[0].db, inventoryRow(renewal));
      await replicas[0].record([precertificate(renewal)]);
      await replicas[1].record([final(renewal)]);
      await judgeAtOnce();
      const rows = await replicas[0].rows();
      expect(rows).toMatchObject([{ severity: "info", is_due: true }]);
      expect(mergedCertificates(rows[0]!)).toHaveLength(1);
      noErrors();
    });

    test("make two suspicious events of two TBS hashes", async () => {
      const renewal = theirs.issue({ dnsNames });
      await replicas[0].record([final(renewal), final(copyOf(renewal, theirs))]);
      await judgeAtOnce();
      expect(await replicas[0].verdicts()).toEqual(["suspicious none", "suspicious none"]);
      noErrors();
    });

    test("merge two certificates of two TBS hashes into an event without one, and make a second event", async () => {
      const renewal = theirs.issue({ dnsNames });
      await replicas[0].process([precertificate(renewal, { log: willow })]);
      await replicas[0].record([final(renewal), final(copyOf(renewal, theirs))]);
      await judgeAtOnce();
      expect(await replicas[0].verdicts()).toEqual(["suspicious none", "suspicious none"]);
      noErrors();
    });
  });

  test("who excuse two issuances by one inventory row at the same moment excuse one", async () => {
    const renewal = ours.issue({ dnsNames });
    await insertInventory(replicas[0].db, inventoryRow(renewal));
    await replicas[0].record([precertificate(renewal)]);
    await replicas[1].record([precertificate(copyOf(renewal, theirs))]);
    await judgeAtOnce();
    expect((await replicas[0].verdicts()).sort()).toEqual(["info serial", "suspicious none"]);
    noErrors();
  });

  describe("pass over what somebody else has locked, wait for nothing, and do it later:", () => {
    /** Locks the first of the rows meanwhile, as a forgotten transaction in psql does. */
    async function whileFirstIsLocked(work: (lockedId: number) => Promise<void>): Promise<void> {
      await replicas[0].db.transaction(deadlineMs, async (tx) => {
        const text = "SELECT id FROM public.alerts ORDER BY id LIMIT 1 FOR UPDATE";
        const [locked] = await tx.query<{ id: number }>({ name: byHand, text }, deadlineMs);
        await work(locked!.id);
      });
    }
    const count = 5;
    const hijacks = () => Array.from({ length: count }, () => theirs.issue({ dnsNames }));
    async function claimedEvents(): Promise<Delivery[]> {
      await replicas[0].record(hijacks().map((hijack) => precertificate(hijack)));
      await replicas[0].judge();
      return await claimDeliveries(replicas[0].db, {
        severity: "suspicious",
        limit: count,
        maxBytes: 1e9,
        leaseSeconds: 40,
        deadlineMs,
      });
    }
    const stateOf = async (column: "delivered" | "is_leased") =>
      (await replicas[0].rows()).map((row) => row[column]);
    const firstAlone = (value: boolean) => [!value, ...Array(count - 1).fill(value)];

    test("outcomes", async () => {
      const outcomes = (await claimedEvents()).map((delivery) =>
        outcomeOf(delivery, { kind: "delivered" }, 3),
      );
      await whileFirstIsLocked(async (lockedId) => {
        expect(await settleDeliveries(replicas[1].db, outcomes, deadlineMs)).toEqual([lockedId]);
        expect(await stateOf("delivered")).toEqual(firstAlone(true));
      });
      expect(await settleDeliveries(replicas[1].db, outcomes, deadlineMs)).toEqual([]);
      expect(await stateOf("delivered")).toEqual(Array(count).fill(true));
      expect((await replicas[0].rows()).map(({ attempts }) => attempts)).toEqual(Array(count).fill(1));
    });

    test("claims to give back, which then wait for their lease", async () => {
      const claimed = await claimedEvents();
      await whileFirstIsLocked(() => releaseDeliveries(replicas[1].db, claimed, deadlineMs));
      expect(await stateOf("is_leased")).toEqual(firstAlone(false));
    });

    test("certificates to judge", async () => {
      await replicas[0].record(hijacks().map((hijack) => final(hijack)));
      await whileFirstIsLocked(async () => {
        await replicas[1].judge();
        expect((await replicas[0].verdicts()).sort()).toEqual([
          "pending",
          ...Array(count - 1).fill("suspicious none"),
        ]);
      });
      await replicas[1].judge();
      expect(await replicas[0].verdicts()).toEqual(Array(count).fill("suspicious none"));
      noErrors();
    });

    test("events to merge into", async () => {
      const issuances = hijacks();
      await replicas[0].record(issuances.map((hijack) => precertificate(hijack)));
      await replicas[0].judge();
      await replicas[0].record(issuances.map((hijack) => final(hijack)));
      await whileFirstIsLocked(async () => {
        await replicas[1].judge();
        expect(await replicas[0].verdicts()).toEqual([...Array(count).fill("suspicious none"), "pending"]);
      });
      await replicas[1].judge();
      const rows = await replicas[0].rows();
      expect(rows.map((row) => mergedCertificates(row).length)).toEqual(Array(count).fill(1));
      noErrors();
    });

    test("a certificate that comes again, which is passed over for good", async () => {
      const updates = hijacks().map((hijack) => final(hijack));
      await replicas[0].record(updates.slice(0, 1));
      await replicas[0].db.transaction(deadlineMs, async (tx) => {
        await tx.execute(
          { name: byHand, text: "UPDATE public.alerts SET last_error = 'by hand'" },
          deadlineMs,
        );
        await replicas[1].record(updates);
        expect(await replicas[1].value("SELECT count(*) FROM public.alerts")).toBe(count);
      });
      noErrors();
    });

    test("more certificates than one look takes", async () => {
      const template = final(theirs.issue({ dnsNames }));
      const many = Array.from({ length: 1_100 }, (_, i) => ({
        ...template,
        serial: i.toString(16),
        fingerprintSha1: i.toString(16).padStart(40, "0"),
      }));
      await replicas[0].record(many);
      await replicas[0].query("UPDATE public.alerts SET judge_at = now() - interval '1 hour'");
      await replicas[0].db.transaction(deadlineMs, async (tx) => {
        await tx.execute({ name: byHand, text: "SELECT FROM public.alerts FOR UPDATE" }, deadlineMs);
        await replicas[0].record(hijacks().map((hijack) => final(hijack)));
        const judge = replicas[1].newJudge();
        judge.loop.start();
        const judged = () =>
          replicas[0].value("SELECT count(*) FROM public.alerts WHERE severity = 'suspicious'");
        await waitUntil("the others to be judged", judged, (n) => n === count);
        await judge.loop.stop();
      });
      noErrors();
    });

    test("an event under delivery holds up no other", async () => {
      const receiver = await startWebhookReceiver();
      await replicas[0].record(hijacks().map((hijack) => final(hijack)));
      await replicas[0].judge();
      const { deliverer, sender } = replicas[1].deliverer(receiver.url);
      const deliveredCount = async () => (await stateOf("delivered")).filter(Boolean).length;
      try {
        await oneStep(deliverer.claiming); // before the lock: it passes over what is locked, too
        await whileFirstIsLocked(async () => {
          deliverer.settling.start();
          await waitUntil("the others to be delivered", deliveredCount, (n) => n === count - 1);
          expect(await stateOf("delivered")).toEqual(firstAlone(true));
        });
        await waitUntil("all to be delivered", deliveredCount, (n) => n === count);
        expect(receiver.count).toBe(count);
        noErrors();
      } finally {
        await deliverer.stop(0);
        await sender.close();
        await receiver.close();
      }
    });
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
              sum(cardinality(ARRAY(SELECT DISTINCT key FROM unnest(merged_keys) AS key
                                    WHERE key ~ '^(der|issuance):'))) AS merged
       FROM public.alerts GROUP BY 1 ORDER BY 1`,
    );
    expect(verdicts).toEqual([
      { severity: "info", events: rounds, issuances: rounds, merged: 2 * rounds },
      { severity: "suspicious", events: 2 * rounds, issuances: 2 * rounds, merged: 2 * rounds },
    ]);
    noErrors();
  });
});
