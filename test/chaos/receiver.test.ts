import { createHash } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseDsn } from "../../src/db/dsn.ts";
import { type Database, openPool } from "../../src/db/pool.ts";
import { type CertstreamSimulator, startCertstreamSimulator } from "../../src/demo/certstream.ts";
import { addWatchEntries } from "../../src/watchlist/edit.ts";
import { byHand } from "../support/by-hand.ts";
import { type Cluster, NO_POSTGRES, startCluster } from "../support/postgres.ts";
import { endPrograms, spawnProgram } from "../support/program.ts";
import { describeIfAvailable } from "../support/skip.ts";
import { accepting, ChaosReceiver, misbehaviours } from "./receiver-behaviours.ts";
import { keepSending, mebibytes, watchOver } from "./receiver-memory.ts";
import { randomOf, shortOrLong } from "./support/seed.ts";
import { noiseMessages } from "./support/stock.ts";

const waiting = 10_000;
/** "Within seconds", on a machine that compiles something else at the same time. */
const maxLatencyMs = 15_000;
const maxStillMs = 10_000;
const maxGrowthBytes = 200 * 2 ** 20;

const fingerprintOf = (name: string) => createHash("sha1").update(name).digest("hex");

/** The least that a lite feed says of a certificate. */
const messageOf = (name: string) =>
  JSON.stringify({
    message_type: "certificate_update",
    data: {
      cert_index: 1,
      leaf_cert: {
        all_domains: [name],
        fingerprint: fingerprintOf(name),
        serial_number: fingerprintOf(name).toUpperCase(),
        not_before: 1_761_915_088,
        not_after: 1_769_694_679,
        issuer: { CN: "Chaos CA", O: "Chaos" },
      },
      seen: Date.now() / 1000,
      source: { name: "Chaos log", url: "https://log.example/" },
      update_type: "X509LogEntry",
    },
  });

describeIfAvailable("a receiver that misbehaves, while 10,000 alerts wait for it", NO_POSTGRES, () => {
  let cluster: Cluster;
  let db: Database;
  let simulator: CertstreamSimulator;
  const receiver = new ChaosReceiver();
  let dsn: string;
  beforeAll(async () => {
    cluster = await startCluster();
    dsn = await cluster.createDatabase();
    db = openPool(parseDsn(dsn));
    await addWatchEntries(db, ["watched.example"], 10_000);
    simulator = await startCertstreamSimulator();
    await receiver.open();
  });
  afterAll(async () => {
    await endPrograms();
    await receiver.shut();
    await simulator?.close();
    await db?.end();
    await cluster?.close();
  });

  test("memory is bounded, the feed goes on, a suspicious alert arrives within seconds, and at the end all do", async () => {
    const random = randomOf("receiver");
    const names = Array.from({ length: waiting }, (_, i) => `i${i}.watched.example`);
    await db.execute(
      {
        name: byHand,
        text: `INSERT INTO public.certs (fingerprint_sha1, sans, not_before, not_after, added_at)
               SELECT f, '[]', 0, 0, 0 FROM unnest($1::text[]) AS f`,
        values: [names.map(fingerprintOf)],
      },
      30_000,
    );
    receiver.info = misbehaviours.hanging!;
    const program = spawnProgram(["run"], {
      POSTGRES_DSN: dsn,
      CERTSTREAM_URL: simulator.url,
      WEBHOOK_URL: receiver.url,
      WEBHOOK_TIMEOUT_S: "2",
      WEBHOOK_MAX_ATTEMPTS: "1000",
      SUSPICIOUS_GRACE_S: "0.5",
      API_PORT: "0",
    });
    await program.waitForLog("connected to the feed");
    const noise = noiseMessages(20);
    const stopNoise = keepSending((sent) => simulator.sendRaw(noise[sent % noise.length]!), 2);
    const watch = watchOver(program);
    for (const name of names) await simulator.sendRaw(messageOf(name));
    await program.waitForMetric('certwatch_alerts_total{severity="info"}', (count) => count === waiting);
    const loadedRssBytes = watch.peakRssBytes;

    let suspicious = 0;
    const latenciesMs: number[] = [];
    /** Sends one that is not in the inventory; it has to arrive past all the others. */
    const raiseAlarm = async (within?: () => Promise<void>) => {
      const name = `s${suspicious}.watched.example`;
      suspicious += 1;
      const sentMs = Date.now();
      await simulator.sendRaw(messageOf(name));
      await within?.();
      const { receivedAtMs } = await receiver.waitFor(
        ({ payload, isAccepted }) => isAccepted && payload.all_sans[0] === name,
      );
      latenciesMs.push(receivedAtMs - sentMs);
    };
    const order = Object.entries(misbehaviours).sort(() => random.next() - 0.5);
    for (const [how, misbehave] of order) {
      receiver.info = misbehave;
      for (let i = 0; i < shortOrLong(1, 20); i += 1) {
        await new Promise((resolve) => setTimeout(resolve, random.int(300, 1_500)));
        await raiseAlarm();
      }
      expect(latenciesMs.at(-1), how).toBeLessThan(maxLatencyMs);
    }

    // The alarm itself is refused, asked to wait, sent elsewhere, hung up on: it comes again.
    for (const how of [
      "answering 429 with Retry-After",
      "answering 301",
      "closing without an answer",
      "hanging",
    ]) {
      // A kept-alive connection that dies before the answer costs no attempt: the same attempt is made again at once.
      const requestsOfAttempt = how === "closing without an answer" ? 2 : 1;
      let requests = 0;
      receiver.suspicious = (...args) => {
        requests += 1;
        if (requests > requestsOfAttempt) return accepting(...args);
        if (!how.includes("429")) return misbehaviours[how]!(...args);
        args[0].writeHead(429, { "Retry-After": "3" }).end();
        return false;
      };
      await raiseAlarm();
      const ofAlarm = receiver.requests.filter(
        ({ payload }) => payload.all_sans[0] === `s${suspicious - 1}.watched.example`,
      );
      expect(new Set(ofAlarm.map(({ headers }) => headers["webhook-id"])).size).toBe(1);
      const [refused, accepted] = ofAlarm.slice(-2);
      const gapMs = accepted!.receivedAtMs - refused!.receivedAtMs;
      expect(gapMs, how).toBeGreaterThan(how.includes("429") ? 2_900 : 900);
    }
    receiver.suspicious = accepting;
    // Nobody listens at all, for a while.
    await raiseAlarm(async () => {
      await receiver.shut();
      await program.waitForLog(
        (line) => line.severity === "suspicious" && String(line.error).includes("ECONNREFUSED"),
      );
      await receiver.open();
    });
    // The receiver is well again. What waits for its next attempt need not wait here; that is said again and again, since
    // attempts that are still under way fail later.
    receiver.info = accepting;
    const forwarding = setInterval(() => {
      db.execute(
        {
          name: byHand,
          text: "UPDATE public.alerts SET next_attempt_at = now() WHERE next_attempt_at > now()",
        },
        30_000,
      ).catch(() => {});
    }, 1_000);
    const total = waiting + suspicious;
    const accepted = () => receiver.requests.filter(({ isAccepted }) => isAccepted);
    // For a minute after the last 429 one alert is sent a second.
    await receiver.waitUntilAccepted(total, 300_000).finally(() => clearInterval(forwarding));
    await program.waitForMetric("certwatch_alerts_undelivered", (count) => count === 0);
    const sent = await stopNoise();
    await program.waitForMetric(
      'certwatch_ct_messages_total{type="certificate_update"}',
      (count) => count === sent + total,
    );
    await watch.stop();

    const [rows] = await db.query<{ delivered: number; given_up: number }>(
      {
        name: byHand,
        text: `SELECT count(*) FILTER (WHERE delivered)::int AS delivered, count(given_up_at)::int AS given_up
               FROM public.alerts`,
      },
      30_000,
    );
    const attempts = (await program.metrics()).get('certwatch_webhook_total{result="failure"}')!;
    const figures = [
      `${waiting} info and ${suspicious} suspicious`,
      `${attempts} failed attempts`,
      `${accepted().length - total} repeated`,
      `suspicious within ${Math.min(...latenciesMs)} to ${Math.max(...latenciesMs)} ms`,
      `RSS ${mebibytes(loadedRssBytes)} MiB with all waiting, ${mebibytes(watch.peakRssBytes)} MiB at most`,
      `feed still for ${Math.round(watch.longestStillMs)} ms at most, ${watch.messages} messages`,
    ];
    process.stderr.write(`LEDGER receiver: ${figures.join(", ")}\n`);
    expect(rows).toEqual({ delivered: total, given_up: 0 });
    expect(receiver.strays).toBe(0);
    // Once each: of those whose 200 came with a body that never ends, the status was the outcome.
    expect(accepted()).toHaveLength(total);
    expect(new Set(accepted().map(({ headers }) => headers["webhook-id"])).size).toBe(total);
    expect(watch.longestStillMs).toBeLessThan(maxStillMs);
    expect(watch.peakRssBytes - loadedRssBytes).toBeLessThan(maxGrowthBytes);
    expect(await program.stop()).toBe(0);
  });
});
