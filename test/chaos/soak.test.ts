import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { byHand } from "../support/by-hand.ts";
import { type Cluster, NO_POSTGRES, startCluster } from "../support/postgres.ts";
import { describeIfAvailable } from "../support/skip.ts";
import { Bed } from "./support/bed.ts";
import { shortOrLong } from "./support/seed.ts";
import { noiseMessages } from "./support/stock.ts";

const minutes = Number(process.env.SOAK_MINUTES || shortOrLong(0.5, 5));
const messagesPerSecond = 2_000;
const matchGapMs = 200;
/** What is older and delivered is deleted: the table must stay small. */
const retentionSeconds = 10;
const cleanupSeconds = 2;
/** A pool has no more (src/db/pool.ts). */
const maxSessions = 4;
const warmUpMs = Math.min(20_000, (minutes * 60_000) / 4);
const mebibyte = 1024 * 1024;
/** In a short soak the heap is still finding its size. */
const maxGrowth =
  minutes >= 10 ? { factor: 1.1, bytes: 10 * mebibyte } : { factor: 1.25, bytes: 30 * mebibyte };

describeIfAvailable("soak", NO_POSTGRES, () => {
  let cluster: Cluster;
  let bed: Bed;
  beforeAll(async () => {
    cluster = await startCluster();
    const env = {
      ALERT_RETENTION_S: String(retentionSeconds),
      CLEANUP_INTERVAL_S: String(cleanupSeconds),
      WEBHOOK_MAX_ATTEMPTS: "100",
    };
    bed = await Bed.open({ name: "soak", dsn: await cluster.createDatabase(), env });
    // Final certificates: what was excused by its serial number is kept for months.
    await bed.prepare(500, { kinds: ["X509LogEntry"] });
  });
  afterAll(async () => {
    await bed?.close();
    await cluster?.close();
  });

  const named = (name: string) => ({ POSTGRES_DSN: `${bed.dsn}&application_name=${name}` });
  const sessionsOf = async (name: string) => {
    const text = "SELECT count(*) AS count FROM pg_stat_activity WHERE application_name = $1";
    return (await bed.db.query<{ count: number }>({ name: byHand, text, values: [name] }, 5_000))[0]!.count;
  };
  const openFiles = (pid: number) => readdirSync(`/proc/${pid}/fd`).length;
  const residentBytes = (pid: number) =>
    Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) * 1024;

  /** Noise at the full rate, in slices, until `isOver`; resolves with the number of messages. */
  async function makeNoise(isOver: () => boolean): Promise<number> {
    const noise = noiseMessages(500);
    const startMs = performance.now();
    let sent = 0;
    while (!isOver()) {
      const due = Math.floor(((performance.now() - startMs) / 1000) * messagesPerSecond);
      const slice: Promise<void>[] = [];
      for (; sent < due; sent += 1)
        slice.push(bed.simulator.sendRaw(noise[sent % noise.length]!, { binary: false }));
      await Promise.all(slice);
      await sleep(20);
    }
    return sent;
  }

  /** What happens, again and again, in random order. */
  const troubles: ((mortal: { restart(): Promise<void> }) => Promise<void>)[] = [
    (mortal) => mortal.restart(),
    () =>
      bed.duringOutage("stopped", async () => {
        await cluster.stop();
        await sleep(bed.random.int(500, 3_000));
        await cluster.start();
      }),
    () =>
      bed.duringOutage("frozen", async () => {
        cluster.freeze();
        await sleep(bed.random.int(500, 5_000));
        cluster.thaw();
      }),
    async () => {
      bed.answerWith(500);
      await sleep(bed.random.int(500, 3_000));
      bed.answerWith(200);
    },
  ];

  test(
    `${minutes} minutes at ${messagesPerSecond} messages/s, with kills and outages: nothing grows, nothing is lost`,
    async () => {
      const steady = await bed.start(named("steady"));
      let mortal = await bed.start(named("mortal"));
      const restart = async () => {
        await bed.kill(mortal);
        mortal = await bed.start(named("mortal"));
      };
      const resident: number[] = [];
      let isOver = false;
      const noise = makeNoise(() => isOver);
      let filesBefore = 0;
      const matched = await bed.sendWhile(async () => {
        await sleep(warmUpMs);
        filesBefore = openFiles(steady.pid);
        const sampling = setInterval(() => resident.push(residentBytes(steady.pid)), 500);
        const endMs = performance.now() + minutes * 60_000 - warmUpMs;
        while (performance.now() < endMs) {
          await bed.random.pick(troubles)({ restart });
          await sleep(bed.random.int(2_000, minutes > 2 ? 20_000 : 5_000));
        }
        clearInterval(sampling);
      }, matchGapMs);
      isOver = true;
      const messages = (await noise) + matched.length;

      await bed.waitUntilRecorded(bed.ledger.sentItems);
      await bed.settle();
      await steady.waitForMetric(
        'certwatch_ct_messages_total{type="certificate_update"}',
        (read) => read === messages,
      );
      const [first, last] = [
        median(resident.slice(0, resident.length / 3)),
        median(resident.slice(-resident.length / 3)),
      ];
      const mebibytes = (bytes: number) => (bytes / mebibyte).toFixed(1);
      process.stderr.write(
        `SOAK ${messages} messages, RSS ${mebibytes(first)} MiB in the first third, ${mebibytes(last)} MiB in the last\n`,
      );
      const figures = await bed.audit("soak", { isPruned: true });
      expect(figures).toMatchObject({ unrecorded: [], delivered: figures.sent });
      expect(last).toBeLessThan(first * maxGrowth.factor + maxGrowth.bytes);

      // Recognised events stay for their excuse, without certificate and payload.
      await bed.waitFor("the table to be emptied by the cleanup", () =>
        bed.db.query(
          {
            name: byHand,
            text: "SELECT id FROM public.alerts WHERE excuse_key IS NULL OR payload IS NOT NULL",
          },
          5_000,
        ),
      );
      for (const name of ["steady", "mortal"])
        expect(await sessionsOf(name), name).toBeLessThanOrEqual(maxSessions);
      // Connections to the receiver are kept for seconds after the last alert.
      await bed.waitFor(
        `no more than ${filesBefore + maxSessions} open files`,
        async () => openFiles(steady.pid) <= filesBefore + maxSessions,
      );
      expect(await steady.stop()).toBe(0);
      expect(await mortal.stop()).toBe(0);
    },
    minutes * 60_000 + 300_000,
  );
});

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
