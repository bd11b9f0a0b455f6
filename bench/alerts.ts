import { setTimeout as sleep } from "node:timers/promises";
import { startReceiver, startSender, startService, stopAll } from "./support/children.ts";
import { cpuMicroseconds } from "./support/cpu.ts";
import { fillInventory, insertLatencies, openDatabase } from "./support/database.ts";
import { progress, type Reporter, runIfMain } from "./support/report.ts";
import { median, spread } from "./support/statistics.ts";

const alerts = Number(process.env.ALERTS ?? 20_000);
const repetitions = Number(process.env.REPETITIONS ?? 3);

/** Known certificates, each a match: from the first message until all are recorded, judged, delivered and marked. */
export async function alertsBenchmark(report: Reporter): Promise<void> {
  const database = await openDatabase();
  try {
    const rates: number[] = [];
    const costs: number[] = [];
    const inserts = await insertLatencies(database);
    for (let repetition = 0; repetition < repetitions; repetition++) {
      await fillInventory(database, alerts);
      const sender = await startSender({ count: alerts, matchEvery: 1, messageBytes: 0 });
      const receiver = await startReceiver();
      const service = await startService({
        POSTGRES_DSN: database.dsn,
        CERTSTREAM_URL: sender.url,
        WEBHOOK_URL: receiver.url,
      });
      const to = await sender.nextClient();
      const startCpu = cpuMicroseconds(service.pid);
      const startMs = performance.now();
      await sender.send({ to, count: alerts });
      // The table is counted only at the end: that would be work for the two cores, too.
      for (let delivered = 0; delivered < alerts; ) {
        await sleep(50);
        if ((await receiver.report()).count < alerts) continue;
        const { rows } = await database.run("SELECT count(*)::int AS n FROM public.alerts WHERE delivered");
        delivered = rows[0].n;
        if (performance.now() - startMs > 300_000) throw new Error(`only ${delivered} alerts were delivered`);
      }
      const seconds = (performance.now() - startMs) / 1000;
      rates.push(alerts / seconds);
      costs.push((cpuMicroseconds(service.pid) - startCpu) / alerts);
      const { count } = await receiver.report();
      progress(
        `alerts: ${alerts} in ${seconds.toFixed(1)} s, ${count} POSTs, ${costs.at(-1)!.toFixed()} us CPU each`,
      );
      await stopAll();
    }
    report({
      name: "recorded, delivered, marked; PostgreSQL, fsync on",
      value: median(rates),
      unit: "/s",
      bar: { atLeast: 3_000 },
      detail: `${spread(rates, 0)}; CPU of certwatch ${spread(costs, 0)} us each; a bare committed INSERT ${spread(inserts, 2)} ms`,
    });
  } finally {
    await stopAll();
    await database.close();
  }
}

await runIfMain(import.meta.url, alertsBenchmark);
