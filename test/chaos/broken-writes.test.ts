import { afterAll, beforeAll, expect, test } from "vitest";
import { parseDsn } from "../../src/db/dsn.ts";
import { openPool } from "../../src/db/pool.ts";
import { byHand } from "../support/by-hand.ts";
import { type Cluster, NO_POSTGRES, startCluster } from "../support/postgres.ts";
import { describeIfAvailable } from "../support/skip.ts";
import { Bed } from "./support/bed.ts";
import {
  type Breakage,
  breakable,
  breakages,
  type OutboxStatement,
  outboxStatements,
} from "./support/breakable.ts";
import { type Pipeline, startPipeline } from "./support/pipeline.ts";
import { isShort, shortOrLong } from "./support/seed.ts";

const graceSeconds = 0.3;

describeIfAvailable("every database write broken both ways", NO_POSTGRES, () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await startCluster({ conf: ["max_connections = 200"] });
    await cluster.createDatabase(); // the template, before many ask for it at once
  });
  afterAll(() => cluster?.close());

  async function openBed(name: string): Promise<Bed> {
    const bed = await Bed.open({ name, dsn: await cluster.createDatabase() });
    // Something for the cleanup to delete.
    await bed.db.execute(
      {
        name: byHand,
        text: `INSERT INTO public.alerts (fingerprint, sans, matched, seen_at, severity, delivered, recorded_at)
               VALUES ('', '["old.example"]', '[]', 0, 'info', true, now() - interval '1 day')`,
      },
      5_000,
    );
    await bed.prepare(0);
    return bed;
  }

  async function closeBooks(bed: Bed, title: string) {
    const old = await bed.db.execute(
      { name: byHand, text: "DELETE FROM chaos.history WHERE name = 'old.example' AND operation = 'DELETE'" },
      5_000,
    );
    expect(old).toBe(1);
    const { unrecorded, ...figures } = await bed.audit(title);
    expect(unrecorded).toEqual([]);
    return figures;
  }

  /** A pipeline on the bed's database whose statements `choose` breaks. */
  function startBroken(bed: Bed, choose: (statement: OutboxStatement, count: number) => Breakage | null) {
    const db = openPool(parseDsn(bed.dsn));
    let pipeline: Pipeline | undefined;
    const broken = breakable(db, bed.random, choose, async (statement, rows) => {
      if (statement !== "claim deliveries" && statement !== "judge certificates") return;
      // Nobody knows that these are claimed: only the end of the lease, which the test does not wait for, frees them.
      const ids = (rows as { id: number }[]).map(({ id }) => id);
      await db.execute(
        {
          name: byHand,
          text: "UPDATE public.alerts SET lease_until = now() WHERE id = ANY ($1::bigint[]) AND lease_until > now()",
          values: [ids],
        },
        5_000,
      );
      pipeline?.wakeDelivery();
    });
    pipeline = startPipeline({
      db: broken,
      lostSessions: () => db.lostSessions,
      webhookUrl: bed.receiver.url,
      graceSeconds,
    });
    return { pipeline, end: () => db.end() };
  }

  // Giving claims back happens only at a stop that interrupts attempts: see below.
  const whileRunning = outboxStatements.filter((name) => name !== "release deliveries");
  const occurrencesOf = (statement: OutboxStatement): number[] => {
    if (statement === "describe a table") return [1]; // once a minute
    return isShort ? [1] : [1, 2, 3];
  };
  const cases = whileRunning.flatMap((statement) =>
    occurrencesOf(statement).flatMap((occurrence) =>
      breakages.map((breakage) => ({ statement, occurrence, breakage })),
    ),
  );

  test.concurrent.each(cases)(
    "statement $statement, number $occurrence: $breakage",
    async ({ statement, occurrence, breakage }) => {
      const title = `${statement} ${occurrence} ${breakage}`;
      const bed = await openBed(title);
      try {
        await bed.stockUp(2, { knownShare: 1 });
        await bed.stockUp(2, { knownShare: 1, kinds: ["PrecertLogEntry", "X509LogEntry"] });
        await bed.stockUp(2, { knownShare: 0, kinds: ["PrecertLogEntry", "X509LogEntry"] });
        await bed.stockUp(2, { knownShare: 0 });
        let wasBroken = false;
        const { pipeline, end } = startBroken(bed, (name, count) => {
          if (name !== statement || count !== occurrence) return null;
          wasBroken = true;
          return breakage;
        });
        // One after the other, and each one again at once: what was not committed must not count as seen.
        for (const item of bed.take(8)) {
          for (const _ of [1, 2]) pipeline.take(item);
          await bed.waitUntilRecorded([item]);
          pipeline.take(item);
        }
        await bed.settle();
        await bed.waitFor(`'${statement}' to be broken`, async () => wasBroken);
        expect(await pipeline.stop()).toBe(0);
        // The judge takes a deadlock for a lost race, and looks again without a word.
        const isSilent = statement === "judge certificates" && pipeline.errors.length === 0;
        if (!isSilent) expect(pipeline.errors).toHaveLength(1);
        await end();
        await bed.settle();
        expect((await closeBooks(bed, title)).repeated).toBe(0);
      } finally {
        await bed.close();
      }
    },
  );

  test.concurrent.each(breakages)("giving claims back at a stop: %s", async (breakage) => {
    const bed = await openBed(`release ${breakage}`);
    try {
      await bed.stockUp(3);
      bed.answerWith("hang");
      let wasBroken = false;
      const first = startBroken(bed, (name) => {
        wasBroken ||= name === "release deliveries";
        return name === "release deliveries" ? breakage : null;
      });
      for (const item of bed.take(3)) first.pipeline.take(item);
      await bed.receiver.waitForCount(3);
      await first.pipeline.stop(0);
      await first.end();
      expect(wasBroken).toBe(true);
      bed.answerWith(200);
      // Lost: the events wait for their lease, as after a crash, which the test does not wait for.
      await bed.db.execute({ name: byHand, text: "UPDATE public.alerts SET lease_until = now()" }, 5_000);
      const second = startBroken(bed, () => null);
      await bed.settle();
      await second.pipeline.stop();
      await second.end();
      expect((await closeBooks(bed, `release ${breakage}`)).repeated).toBe(0);
    } finally {
      await bed.close();
    }
  });

  test.concurrent.each(isShort ? [0.2] : [0.1, 0.3, 0.5])(
    "two replicas, each statement broken at random with probability %d",
    async (probability) => {
      const title = `random ${probability}`;
      const bed = await openBed(title);
      try {
        const count = shortOrLong(60, 400);
        await bed.stockUp(count);
        let isBreaking = true;
        // Where an outcome cannot be committed again and again, its lease may end before.
        const endOutage = bed.ledger.noteOutage("broken writes");
        const choose = () =>
          isBreaking && bed.random.chance(probability) ? bed.random.pick(breakages) : null;
        const replicas = [startBroken(bed, choose), startBroken(bed, choose)];
        for (const item of bed.take(count)) {
          for (const { pipeline } of replicas) pipeline.take(item);
          if (bed.random.chance(0.2)) await bed.pause(bed.random.int(1, 200));
        }
        await bed.waitUntilRecorded(bed.ledger.sentItems);
        isBreaking = false;
        endOutage();
        await bed.settle();
        for (const { pipeline, end } of replicas) {
          expect(pipeline.errors.length).toBeGreaterThan(0);
          expect(await pipeline.stop()).toBe(0);
          await end();
        }
        await closeBooks(bed, title);
      } finally {
        await bed.close();
      }
    },
  );

  test("two replicas judge two certificates of one issuance at the same moment: one event each", async () => {
    const title = "one issuance, two replicas";
    const bed = await openBed(title);
    try {
      const rounds = shortOrLong(30, 300);
      // A judgement takes long enough for the other replica to begin its own before it is committed.
      await bed.db.execute(
        {
          name: byHand,
          text: `CREATE FUNCTION chaos.slowly() RETURNS trigger LANGUAGE plpgsql AS
                   $$ BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END $$;
                 CREATE TRIGGER chaos_slowly BEFORE UPDATE ON public.alerts FOR EACH ROW
                   WHEN (OLD.severity = 'pending' AND NEW.severity <> 'pending') EXECUTE FUNCTION chaos.slowly()`,
        },
        5_000,
      );
      await bed.stockUp(rounds, { knownShare: 0.5, kinds: ["PrecertLogEntry", "X509LogEntry"] });
      const [one, other] = [startBroken(bed, () => null), startBroken(bed, () => null)];
      for (const item of bed.take(rounds)) {
        one.pipeline.take(item, ["PrecertLogEntry"]);
        other.pipeline.take(item, ["X509LogEntry"]);
        await bed.pause(bed.random.int(20, 80));
      }
      await bed.waitUntilRecorded(bed.ledger.sentItems);
      await bed.settle();
      for (const { pipeline, end } of [one, other]) {
        expect(await pipeline.stop()).toBe(0);
        expect(pipeline.errors).toEqual([]);
        await end();
      }
      expect((await closeBooks(bed, title)).repeated).toBe(0);
    } finally {
      await bed.close();
    }
  });
});
