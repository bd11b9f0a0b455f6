import { startReceiver, startSender, startService, stopAll } from "./support/children.ts";
import { type BenchDatabase, fillInventory, insertLatencies, withDatabase } from "./support/database.ts";
import { type Reporter, runIfMain } from "./support/report.ts";
import { median, quantile, spread } from "./support/statistics.ts";

const messagesPerSecond = 5_000;
const matchEvery = 25;
const seconds = 20;
const graceSeconds = 2;

/** From the moment that a message is written to the socket to the arrival of its POST, at 200 matches a second. */
export async function latency(report: Reporter): Promise<void> {
  await withDatabase(async (database) => {
    const known = await run(database, seconds, true);
    const inserts = await insertLatencies(database);
    const insertMs = median(inserts);
    report({
      name: "known, p50 above a bare committed INSERT",
      value: quantile(known, 0.5) - insertMs,
      unit: "ms",
      bar: { atMost: 5 },
      detail: `p50 ${quantile(known, 0.5).toFixed(1)} ms of ${known.length}; INSERT ${spread(inserts, 2)} ms`,
    });
    report({
      name: "known, p99",
      value: quantile(known, 0.99),
      unit: "ms",
      bar: { atMost: 25 },
      detail: `p90 ${quantile(known, 0.9).toFixed(1)} ms, longest ${Math.max(...known).toFixed(1)} ms`,
    });
    const unknown = (await run(database, 5, false)).map((ms) => ms - graceSeconds * 1000);
    report({
      name: "unknown, p99 above its grace",
      value: quantile(unknown, 0.99),
      unit: "ms",
      bar: { atMost: 100 },
      detail: `p50 ${quantile(unknown, 0.5).toFixed(1)} ms, of ${unknown.length}, grace ${graceSeconds} s`,
    });
  });
}

async function run(database: BenchDatabase, runSeconds: number, isKnown: boolean): Promise<number[]> {
  const count = runSeconds * messagesPerSecond;
  await fillInventory(database, isKnown ? count : 0);
  const sender = await startSender({ count, matchEvery, messageBytes: 5_000 });
  const receiver = await startReceiver();
  await startService({
    POSTGRES_DSN: database.dsn,
    CERTSTREAM_URL: sender.url,
    WEBHOOK_URL: receiver.url,
    SUSPICIOUS_GRACE_S: String(graceSeconds),
  });
  const to = await sender.nextClient();
  const sentAt = await sender.send({ to, count, ratePerSecond: messagesPerSecond });
  const arrivedAt = new Map<string, number>();
  const endMs = performance.now() + 30_000;
  while (arrivedAt.size < sentAt.length) {
    for (const [fingerprint, epochMs] of (await receiver.report()).arrivals)
      arrivedAt.set(fingerprint, epochMs);
    if (performance.now() > endMs)
      throw new Error(`only ${arrivedAt.size} of ${sentAt.length} alerts arrived`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await stopAll();
  // The first second is left out: code is compiled and connections are made.
  return sentAt.slice(200).map(([fingerprint, epochMs]) => arrivedAt.get(fingerprint)! - epochMs);
}

await runIfMain(import.meta.url, latency);
