import { afterAll, beforeAll, expect, test } from "vitest";
import { parseDsn } from "../../src/db/dsn.ts";
import { type Database, openPool } from "../../src/db/pool.ts";
import { type CertstreamSimulator, startCertstreamSimulator } from "../../src/demo/certstream.ts";
import { startWebhookReceiver, type WebhookReceiver } from "../../src/demo/receiver.ts";
import { wireMessage } from "../../src/demo/wire.ts";
import { addWatchEntries } from "../../src/watchlist/edit.ts";
import { type Cluster, NO_POSTGRES, startCluster } from "../support/postgres.ts";
import { endPrograms, type Program, spawnProgram } from "../support/program.ts";
import { describeIfAvailable } from "../support/skip.ts";
import { type Behaviour, HostileProxy, misbehaviours } from "./feed-behaviours.ts";
import { keepSending, mebibytes, watchOver } from "./receiver-memory.ts";
import { randomOf, shortOrLong } from "./support/seed.ts";
import { entryOf, issueItems, noiseMessages, watched } from "./support/stock.ts";

/** A feed that delivers nothing for so long is replaced; the good ones send a heartbeat more often than that. */
const idleSeconds = 5;
const heartbeat = '{"message_type":"heartbeat"}';
/** A half-open connection is noticed when the second ping is due, 40 s after the first could be. */
const reasonPatienceMs = 70_000;
const maxStillMs = 10_000;
/** Two feeds at once may hold a message of FEED_MAX_MESSAGE_BYTES each, and the garbage of it. */
const maxRssBytes = 300 * 2 ** 20;
const updates = 'certwatch_ct_messages_total{type="certificate_update"}';

/** One feed of the program, behind a proxy that misbehaves. */
interface Feed {
  how: string;
  proxy: HostileProxy;
  simulator: CertstreamSimulator;
  /** As in log and metrics. */
  name: string;
  /** For its second connection; undefined: it is half-open. */
  behave: Behaviour | undefined;
  reason: RegExp;
  /** Names that have to be delivered. */
  names: { first: string; during: string; last: string };
}

describeIfAvailable("feeds that misbehave, all at once, beside one that does not", NO_POSTGRES, () => {
  let cluster: Cluster;
  let db: Database;
  let dsn: string;
  let receiver: WebhookReceiver;
  beforeAll(async () => {
    cluster = await startCluster();
    dsn = await cluster.createDatabase();
    db = openPool(parseDsn(dsn));
    await addWatchEntries(db, [watched], 10_000);
    receiver = await startWebhookReceiver();
  });
  afterAll(async () => {
    await endPrograms();
    await receiver?.close();
    await db?.end();
    await cluster?.close();
  });

  /** A message about a new watched name, as each server and feed would write it in turn. */
  async function aMessage(): Promise<{ name: string; message: string }> {
    const [item] = await issueItems(db, randomOf("feed"), 1, { knownShare: 0 });
    return { name: item!.name, message: wireMessage(entryOf(item!, "X509LogEntry"), { feed: "full" }) };
  }

  async function openFeeds(): Promise<{ feeds: Feed[]; odd: string[]; messages: Map<string, string> }> {
    const messages = new Map<string, string>();
    const issue = async () => {
      const { name, message } = await aMessage();
      messages.set(name, message);
      return name;
    };
    const hows = [...Object.keys(misbehaviours("")), "half-open", "half-open before its first message"];
    const feeds: Feed[] = [];
    for (const how of hows) {
      const simulator = await startCertstreamSimulator();
      const proxy = await HostileProxy.start(simulator.port);
      const names = { first: await issue(), during: await issue(), last: await issue() };
      const misbehaviour = misbehaviours(messages.get(names.during)!)[how];
      const halfOpen = how.endsWith("message") ? /no answer to a ping/ : /no message for/;
      const name = `ws://127.0.0.1:${proxy.port}/full-stream`;
      feeds.push({
        how,
        proxy,
        simulator,
        name,
        behave: misbehaviour?.behave,
        reason: misbehaviour?.reason ?? halfOpen,
        names,
      });
    }
    return { feeds, odd: hows.filter((how) => how.startsWith("a good message")), messages };
  }

  const hasArrived = (name: string) =>
    receiver.waitFor(({ json }) => (json as { all_sans: string[] }).all_sans[0] === name, 60_000);

  async function startProgram(feeds: Feed[], steady: CertstreamSimulator): Promise<Program> {
    const program = spawnProgram(["run"], {
      POSTGRES_DSN: dsn,
      CERTSTREAM_URL: [steady.url, ...feeds.map(({ name }) => name)].join(),
      WEBHOOK_URL: receiver.url,
      FEED_IDLE_TIMEOUT_S: String(idleSeconds),
      SUSPICIOUS_GRACE_S: "0.1",
      API_PORT: "0",
    });
    await program.waitForLog("certwatch is watching");
    return program;
  }

  /** Waits for the reason in the log, for longer than two pings are apart. */
  async function saysWhy(program: Program, { name, reason }: Feed): Promise<void> {
    const reasons = () =>
      program.lines.filter(({ feed }) => feed === name).map((line) => String(line.reason));
    const endMs = performance.now() + reasonPatienceMs;
    while (!reasons().some((one) => reason.test(one))) {
      if (performance.now() > endMs)
        throw new Error(`${reason} is not among the reasons ${reasons().join("; ")}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Its first connection is good and then cut, its second misbehaves, its third is good again. */
  async function goThrough(
    feed: Feed,
    program: Program,
    send: (feed: Feed, name: string) => Promise<void>,
  ): Promise<void> {
    const { proxy, simulator, how } = feed;
    await program.waitForLog((line) => line.feed === feed.name && line.msg === "connected to the feed");
    if (feed.behave !== undefined) proxy.behaviours.push(feed.behave);
    if (how !== "half-open before its first message") {
      await send(feed, feed.names.first);
      await hasArrived(feed.names.first);
    }
    if (feed.behave === undefined) proxy.swallow();
    else proxy.cut();
    await saysWhy(program, feed);
    await simulator.waitForClient(2);
    await send(feed, feed.names.last);
    await hasArrived(feed.names.last);
  }

  test("the program survives, counts, says why, and reads the next good message of each; the steady feed never waits", async () => {
    for (let round = 0; round < shortOrLong(1, 10); round += 1) {
      const { feeds, odd, messages } = await openFeeds();
      const steady = await startCertstreamSimulator();
      const program = await startProgram(feeds, steady);
      await steady.waitForClient();
      const noise = noiseMessages(20);
      const stopNoise = keepSending((sent) => steady.sendRaw(noise[sent % noise.length]!), 5);
      const stopHeartbeats = keepSending(async () => {
        const isQuiet = ({ how, simulator }: Feed) => how.endsWith("first message") && simulator.accepted < 2;
        await Promise.all(
          feeds.filter((feed) => !isQuiet(feed)).map(({ simulator }) => simulator.sendRaw(heartbeat)),
        );
      }, 500);
      const watch = watchOver(program);
      await Promise.all(feeds.map(({ simulator }) => simulator.waitForClient(1)));

      const went = feeds.map((feed) =>
        goThrough(feed, program, ({ simulator }, name) => simulator.sendRaw(messages.get(name)!)).then(
          () => [],
          (error: Error) => [`${feed.how}: ${error.message.slice(0, 300)}`],
        ),
      );
      expect((await Promise.all(went)).flat()).toEqual([]);
      for (const { how, names } of feeds) if (odd.includes(how)) await hasArrived(names.during);

      const metrics = await program.metrics();
      for (const { name, how } of feeds) {
        expect(metrics.get(`certwatch_feed_connected{feed="${name}"}`), how).toBe(1);
        expect(metrics.get(`certwatch_feed_reconnects_total{feed="${name}"}`), how).toBeGreaterThanOrEqual(1);
      }
      expect(metrics.get(`certwatch_feed_reconnects_total{feed="${steady.url}"}`)).toBe(0);
      expect(metrics.get('certwatch_ct_messages_refused_total{reason="too_large"}')).toBeGreaterThanOrEqual(
        2,
      );
      expect(metrics.get('certwatch_ct_messages_refused_total{reason="not_json"}')).toBeGreaterThanOrEqual(3);
      expect(metrics.get('certwatch_ct_messages_refused_total{reason="not_an_object"}')).toBe(1);
      for (const { proxy } of feeds)
        expect(proxy.requestHeads.join()).not.toMatch(/sec-websocket-extensions/i);
      const sent = await stopNoise();
      await stopHeartbeats();
      const delivered = feeds.length * 2 - 1 + odd.length;
      await program.waitForMetric(updates, (count) => count === sent + delivered);
      await watch.stop();
      process.stderr.write(
        `LEDGER feed: ${feeds.length} feeds, ${watch.messages} messages, still for ${Math.round(watch.longestStillMs)} ms at most, ` +
          `RSS ${mebibytes(watch.peakRssBytes)} MiB at most\n`,
      );
      expect(watch.longestStillMs).toBeLessThan(maxStillMs);
      expect(watch.peakRssBytes).toBeLessThan(maxRssBytes);
      expect((await fetch(`${program.apiUrl}/healthz`)).status).toBe(200);
      expect(await program.stop()).toBe(0);
      expect(program.stderr).toBe("");
      for (const { proxy, simulator } of feeds) {
        await proxy.close();
        await simulator.close();
      }
      await steady.close();
    }
  });
});
