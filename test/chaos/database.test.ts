import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { byHand } from "../support/by-hand.ts";
import { type Cluster, NO_POSTGRES, startCluster } from "../support/postgres.ts";
import type { Program } from "../support/program.ts";
import { describeIfAvailable } from "../support/skip.ts";
import { Bed } from "./support/bed.ts";
import { isShort, shortOrLong } from "./support/seed.ts";
import { certificateKeyOf, issueItems } from "./support/stock.ts";

const retryableErrors = 'certwatch_database_errors_total{kind="retryable"}';
/** Longer than any deadline of a statement. */
const frozenMs = shortOrLong(16_000, 60_000);
const rounds = shortOrLong(1, 5);
const meanGapMs = 20;

describeIfAvailable("the database in trouble", NO_POSTGRES, () => {
  let cluster: Cluster;
  let bed: Bed;
  let program: Program;
  beforeAll(async () => {
    cluster = await startCluster({ conf: ["max_connections = 20", "deadlock_timeout = 2s"] });
  });
  beforeEach(async ({ task }) => {
    bed = await Bed.open({ name: task.name, dsn: await cluster.createDatabase() });
    await bed.prepare(100);
    program = await bed.start();
  });
  afterEach(() => bed?.close());
  afterAll(() => cluster?.close());

  /** Sends before, during and after the trouble; then everything sent has to have arrived, once. */
  async function through(title: string, trouble: () => Promise<void>, gapMs = meanGapMs): Promise<void> {
    await bed.sendWhile(async () => {
      await sleep(bed.random.int(50, 500));
      await trouble();
      await sleep(bed.random.int(50, 500));
    }, gapMs);
    await bed.waitUntilRecorded(bed.ledger.sentItems);
    await bed.settle();
    expect((await program.metrics()).get(retryableErrors), "errors that certwatch saw").toBeGreaterThan(0);
    expect((await program.metrics()).get("certwatch_alerts_dropped_total")).toBe(0);
    expect((await bed.audit(title)).unrecorded).toEqual([]);
    expect(await program.stop()).toBe(0);
  }

  const stopping: Record<string, () => Promise<void>> = {
    fast: () => cluster.stop(),
    immediate: async () => {
      const pidFile = readFileSync(join(cluster.dir, "data/postmaster.pid"), "utf8");
      process.kill(Number(pidFile.split("\n")[0]), "SIGQUIT");
      await cluster.stop();
    },
    crash: () => cluster.kill(),
  };
  test(`stopped (fast, immediate, crash) and started again, ${rounds} times each`, async () => {
    await bed.stockUp(600);
    await through("stopped and started", async () => {
      for (let round = 0; round < rounds; round += 1) {
        for (const [how, stop] of Object.entries(stopping)) {
          await bed.duringOutage(how, async () => {
            await stop();
            await sleep(bed.random.int(200, 2_000));
            await cluster.start();
          });
          await sleep(bed.random.int(0, 1_000));
        }
      }
    });
  });

  test(`frozen for ${frozenMs / 1000} s`, async () => {
    const gapMs = 60;
    await bed.stockUp((frozenMs / gapMs) * 3);
    const freeze = () =>
      bed.duringOutage("frozen", async () => {
        cluster.freeze();
        await sleep(frozenMs);
        cluster.thaw();
      });
    await through("frozen", freeze, gapMs);
  });

  /** Of the program, server-side. */
  const sessions = async () =>
    (
      await bed.db.query<{ pid: number }>(
        {
          name: byHand,
          text: `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'certwatch'
               ORDER BY pid`,
        },
        5_000,
      )
    ).map(({ pid }) => pid);
  const signalSession = (what: "pg_cancel_backend" | "pg_terminate_backend", pid: number) =>
    bed.db.execute({ name: byHand, text: `SELECT ${what}($1)`, values: [pid] }, 5_000);

  test("out of connections", async () => {
    const taken: pg.Client[] = [];
    await through("out of connections", () =>
      bed.duringOutage("out of connections", async () => {
        // Takes every free place, and each that the program loses.
        for (;;) {
          const client = new pg.Client({ connectionString: bed.dsn, application_name: "taker" });
          client.on("error", () => {});
          const refusal = await client.connect().then(
            () => null,
            (error: { code?: string }) => error.code,
          );
          if (refusal === null) {
            taken.push(client);
            continue;
          }
          expect(refusal).toBe("53300");
          const [pid] = await sessions();
          if (pid === undefined) break;
          await signalSession("pg_terminate_backend", pid);
        }
        await program.waitForMetric(retryableErrors, (count) => count >= 3);
        await sleep(bed.random.int(0, 1_000));
        await Promise.all(taken.map((client) => client.end()));
      }),
    );
  });

  test("read-only for a while", async () => {
    const set = async (value: "on" | "off") => {
      await bed.db.execute(
        { name: byHand, text: `ALTER SYSTEM SET default_transaction_read_only = ${value}` },
        5_000,
      );
      await bed.db.execute({ name: byHand, text: "SELECT pg_reload_conf()" }, 5_000);
    };
    await through("read-only", () =>
      bed.duringOutage("read-only", async () => {
        await set("on");
        await program.waitForMetric(retryableErrors, (count) => count >= 2);
        await set("off");
      }),
    );
  });

  test.each(["pg_cancel_backend", "pg_terminate_backend"] as const)("%s in a loop", async (what) => {
    await bed.stockUp(shortOrLong(100, 2_000));
    await through(what, () =>
      bed.duringOutage(what, async () => {
        const endMs = performance.now() + shortOrLong(2_000, 20_000);
        const hit = async () => ((await program.metrics()).get(retryableErrors) ?? 0) > 0;
        while (performance.now() < endMs || !(await hit())) {
          for (const pid of await sessions()) await signalSession(what, pid);
        }
      }),
    );
  });

  test("a deadlock", async () => {
    await program.stop();
    program = await bed.start({ SUSPICIOUS_GRACE_S: "2" });
    await through("a deadlock", () =>
      bed.duringOutage("a deadlock", async () => {
        const other = new pg.Client({ connectionString: bed.dsn, application_name: "other" });
        await other.connect();
        await other.query("SET deadlock_timeout = '1min'"); // certwatch is to be the victim
        await bed.stockUp(60, { knownShare: 0 });
        const pending = await bed.send(bed.stock);
        await bed.waitUntilRecorded(pending);
        await other.query("BEGIN");
        // Rows that are locked it passes over. The event of an issuance that another session may be about to make it
        // cannot: it waits for that, with all that it judges locked.
        const { rowCount } = await other.query(
          `INSERT INTO public.alerts (fingerprint, sans, matched, seen_at, severity, issuance_id, event_number)
           SELECT '', '[]', '[]', 0, 'suspicious', issuance_id, 0 FROM public.alerts
           WHERE id = (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY id)
                       FROM public.alerts WHERE severity = 'pending')`,
        );
        expect(rowCount).toBe(1);
        await bed.waitFor("certwatch to wait for it", async () => {
          const waiting = await bed.db.query(
            {
              name: byHand,
              text: "SELECT FROM pg_stat_activity WHERE application_name = 'certwatch' AND wait_event_type = 'Lock'",
            },
            5_000,
          );
          return waiting.length > 0;
        });
        await other.query("SELECT FROM public.alerts WHERE severity = 'pending' FOR UPDATE");
        await other.query("ROLLBACK");
        await other.end();
        await bed.waitFor("the deadlock to be counted", async () => {
          const [row] = await bed.db.query<{ deadlocks: number }>(
            {
              name: byHand,
              text: "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
            },
            5_000,
          );
          return row!.deadlocks > 0;
        });
      }),
    );
  });

  test("rows refused for their data: neighbours pass, what cannot be stored is logged whole, and passes later", async () => {
    // Without its serial number a precertificate would not be recognised: a final certificate keeps its fingerprint.
    const [stripped, refused] = await issueItems(bed.db, bed.random, 2, { kinds: ["X509LogEntry"] });
    await bed.db.execute(
      {
        name: byHand,
        // As Postgres refuses values: SQLSTATE class 22. (A row that a constraint refuses waits instead.)
        text: `CREATE FUNCTION public.chaos_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF NEW.sans ->> 0 = '${stripped!.name}' AND NEW.payload ? 'issuer_cn' OR NEW.sans ->> 0 = '${refused!.name}' THEN
                   RAISE EXCEPTION 'refused for its data' USING ERRCODE = '22000';
                 END IF;
                 RETURN NEW;
               END $$;
               CREATE TRIGGER chaos_refuse BEFORE INSERT ON public.alerts
                 FOR EACH ROW EXECUTE FUNCTION public.chaos_refuse()`,
      },
      5_000,
    );
    await bed.db.transaction(20_000, async (tx) => {
      await tx.execute({ name: byHand, text: "LOCK TABLE public.alerts IN EXCLUSIVE MODE" }, 5_000);
      await bed.send(20);
      await bed.publish([stripped!, refused!]);
      await bed.send(20);
      await program.waitForMetric("certwatch_alerts_waiting", (waiting) => waiting >= 42);
    });
    const dropped = await program.waitForLog(({ dropped }) => dropped !== undefined);
    expect(dropped).toMatchObject({ level: "error", dropped: { sans: [refused!.name] } });
    await bed.settle();
    const first = await bed.audit("rows refused");
    expect(first.unrecorded).toEqual([refused]);
    const rows = await bed.db.query<{ error: string; delivered: boolean }>(
      {
        name: byHand,
        text: "SELECT last_error AS error, delivered FROM public.alerts WHERE sans ->> 0 = $1",
        values: [stripped!.name],
      },
      5_000,
    );
    expect(rows).toEqual([{ error: expect.stringContaining("stored with its names only"), delivered: true }]);

    // It was never committed, so it never counts as seen.
    await bed.db.execute({ name: byHand, text: "DROP FUNCTION public.chaos_refuse CASCADE" }, 5_000);
    await bed.publish([refused!], 1);
    await bed.waitUntilRecorded([refused!]);
    await bed.settle();
    expect((await bed.audit("rows refused, sent again")).unrecorded).toEqual([]);
  });

  // The short form leaves the first to test/program/outage.test.ts.
  test.each(isShort ? ["frozen"] : ["stopped", "frozen"])(
    "stop while Postgres is %s: what is dropped is logged whole",
    async (how) => {
      await bed.stockUp(60);
      await bed.send(30);
      await sleep(bed.random.int(0, 300));
      let loggedMs = 0;
      await bed.duringOutage(how, async () => {
        if (how === "stopped") await cluster.stop();
        else cluster.freeze();
        const items = await bed.send(40);
        const certificates = items.reduce((sum, { kinds }) => sum + kinds.length, 0);
        await program.waitForMetric("certwatch_alerts_waiting", (waiting) => waiting >= certificates);
        const signalledMs = performance.now();
        program.signal("SIGTERM");
        await program.waitForLog(({ dropped }) => dropped !== undefined);
        loggedMs = performance.now() - signalledMs;
        expect(await program.exited).toEqual({ status: 1, signal: null });
        const stoppedMs = performance.now() - signalledMs;
        process.stderr.write(
          `STOP while ${how}: logged after ${Math.round(loggedMs)} ms, ended after ${Math.round(stoppedMs)} ms\n`,
        );
        expect(stoppedMs).toBeLessThan(25_000); // 15 s, on a machine that is not busy
        // Docker kills after ten seconds; the rest is for a busy machine.
        expect(loggedMs).toBeLessThan(14_000);
        if (how === "stopped") await cluster.start();
        else cluster.thaw();
      });
      const droppedKeys = new Set(
        program.lines.flatMap(
          ({ dropped }) => (dropped as { certificate_key: string } | undefined)?.certificate_key ?? [],
        ),
      );
      expect(program.lines.at(-1)).toMatchObject({
        msg: "stopped",
        certificates_not_written: droppedKeys.size,
      });
      const recorded = await bed.db.query<{ key: string }>(
        { name: byHand, text: "SELECT DISTINCT certificate_key AS key FROM chaos.history" },
        20_000,
      );
      const kept = new Set([...droppedKeys, ...recorded.map(({ key }) => key)]);
      const lost = bed.ledger.sentItems.flatMap((item) =>
        item.kinds.map((kind) => certificateKeyOf(item, kind)).filter((key) => !kept.has(key)),
      );
      expect(lost).toEqual([]);

      await bed.start();
      await bed.publish(bed.ledger.sentItems, 1);
      await bed.waitUntilRecorded(bed.ledger.sentItems);
      await bed.settle();
      expect((await bed.audit(`stop while ${how}, ${droppedKeys.size} logged`)).unrecorded).toEqual([]);
    },
  );
});
