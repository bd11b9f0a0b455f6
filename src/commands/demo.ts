import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { styleText as style } from "node:util";
import type { Payload } from "../alerts/payload.ts";
import { readConfig } from "../config.ts";
import { parseDsn } from "../db/dsn.ts";
import { embeddedDsn } from "../db/embedded/open.ts";
import { openPool } from "../db/pool.ts";
import { startCertstreamSimulator } from "../demo/certstream.ts";
import { startWebhookReceiver, type WebhookReceiver } from "../demo/receiver.ts";
import { type Chapter, createStory, type Story } from "../demo/story.ts";
import { addToInventory } from "../demo/upstream.ts";
import { createLogger } from "../log.ts";
import { startService } from "../service.ts";
import { addWatchEntries } from "../watchlist/edit.ts";
import { untilStopped } from "./until-stopped.ts";

const graceSeconds = 3;
const patienceMs = 30_000;
/** Colours text, on a terminal only: Node.js 20 does not check where the text goes. */
const styleText: typeof style = (format, text) => (process.stdout.isTTY ? style(format, text) : text);
/** How long to wait, after the last chapter, for events that must not come. */
const silenceMs = 1_500;

/**
 * Plays a story on a simulated feed through the real service, and checks that the right events arrive.
 *
 * @param options.keep whether to leave everything running until SIGINT or SIGTERM.
 * @returns the exit status: 1 if an expected event is missing or an unexpected event came.
 */
export async function demo(options: { keep: boolean }): Promise<number> {
  const dataDir = await mkdtemp(join(tmpdir(), "certwatch-demo-"));
  const story = createStory();
  const simulator = await startCertstreamSimulator();
  const receiver = await startWebhookReceiver({
    onDelivery: (delivery) => printEvent(delivery.json as Payload),
  });
  console.log(
    "Starting certwatch with a database of its own, a simulated certstream server and a webhook receiver ...",
  );
  const config = readConfig(
    {
      CERTSTREAM_URL: simulator.url,
      WEBHOOK_URL: receiver.url,
      API_PORT: "0",
      DATA_DIR: dataDir,
      SUSPICIOUS_GRACE_S: String(graceSeconds),
      WATCH_REFRESH_INTERVAL_S: "0.5",
      LOG_LEVEL: process.env.LOG_LEVEL ?? "ERROR",
    },
    { embedded: true },
  );
  const service = await startService(config, createLogger(config.logLevel), new AbortController().signal);
  try {
    await prepare(story, dataDir, service.apiUrl);
    console.log(
      `Watching ${story.watched.join(", ")}; the grace for unknown certificates is ${graceSeconds} s.`,
    );
    for (const chapter of story.chapters) {
      console.log(`\n${styleText("bold", chapter.title)}: ${chapter.explanation}`);
      await simulator.publish(...chapter.entries);
      await waitForEvents(receiver, chapter);
    }
    await sleep(silenceMs);
    const isAsExpected = summarize(story, receiver);
    if (options.keep) await keepRunning({ apiUrl: service.apiUrl, feed: simulator.url, dataDir });
    return isAsExpected ? 0 : 1;
  } finally {
    service.stop();
    await service.stopped;
    await simulator.close();
    await receiver.close();
    await rm(dataDir, { recursive: true, force: true });
  }
}

/** Fills the two upstream tables, through the socket that `psql` would use. Waits until the service uses the list. */
async function prepare(story: Story, dataDir: string, apiUrl: string): Promise<void> {
  const db = openPool(parseDsn(embeddedDsn(dataDir)), { maxConnections: 1 });
  try {
    await addWatchEntries(db, story.watched, 10_000);
    await addToInventory(db, story.inventory, "demo");
  } finally {
    await db.end();
  }
  const endMs = performance.now() + patienceMs;
  while (performance.now() < endMs) {
    const health = (await (await fetch(`${apiUrl}/healthz`)).json()) as {
      watch_entries: number;
      ws_connected: boolean;
    };
    if (health.watch_entries === story.watched.length && health.ws_connected) return;
    await sleep(100);
  }
  throw new Error("certwatch did not read the watch list, or did not connect to the feed, within 30 s");
}

async function waitForEvents(receiver: WebhookReceiver, chapter: Chapter): Promise<void> {
  for (const { severity, san } of chapter.expected) {
    await receiver
      .waitFor(({ json }) => isEvent(json as Payload, severity, san), patienceMs)
      .catch(() => console.log(styleText("red", `  missing: ${severity} for ${san}`)));
  }
  if (chapter.expected.length === 0) console.log("  nothing, as it should be");
}

function isEvent(payload: Payload, severity: string, san: string): boolean {
  return payload.severity === severity && payload.matched_sans.includes(san);
}

function printEvent(payload: Payload): void {
  const color = payload.severity === "suspicious" ? "red" : "green";
  console.log(
    `  ${styleText([color, "bold"], payload.severity.toUpperCase())}  ${payload.matched_sans.join(", ")}`,
  );
  console.log(
    `    issued by ${payload.issuer_cn} (${payload.issuer_o}), valid for ${payload.lifetime_days} days`,
  );
  console.log(`    seen in ${payload.source_log} (${payload.update_type})`);
  console.log(`    ${payload.reason}`);
}

function summarize(story: Story, receiver: WebhookReceiver): boolean {
  const expected = story.chapters.flatMap((chapter) => chapter.expected);
  const arrived = receiver.deliveries.map(({ json }) => json as Payload);
  const found = expected.filter(({ severity, san }) =>
    arrived.some((payload) => isEvent(payload, severity, san)),
  );
  const messages = story.chapters.reduce((sum, chapter) => sum + chapter.entries.length, 0);
  const isAsExpected = found.length === expected.length && arrived.length === expected.length;
  const suspicious = arrived.filter(({ severity }) => severity === "suspicious").length;
  console.log(
    `\n${messages} messages read, ${arrived.length} events delivered: ${suspicious} suspicious, ${arrived.length - suspicious} info.`,
  );
  console.log(
    isAsExpected
      ? styleText("green", "Exactly the expected events arrived.")
      : styleText("red", `${expected.length} events were expected, and ${found.length} of them arrived.`),
  );
  return isAsExpected;
}

async function keepRunning(running: { apiUrl: string; feed: string; dataDir: string }): Promise<void> {
  console.log("\nLeft running until Ctrl-C:");
  console.log(`  health and metrics   ${running.apiUrl}/healthz  ${running.apiUrl}/metrics`);
  console.log(`  simulated feed       ${running.feed}`);
  console.log(`  database             psql -h ${running.dataDir} -U postgres postgres`);
  await once(untilStopped(), "abort");
}
