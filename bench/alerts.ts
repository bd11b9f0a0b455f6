import { stopAll } from "./support/children.ts";
import { fillInventory, insertLatencies, withDatabase } from "./support/database.ts";
import { startDeliveries } from "./support/deliveries.ts";
import { progress, type Reporter, runIfMain } from "./support/report.ts";
import { median, spread } from "./support/statistics.ts";

const alerts = Number(process.env.ALERTS ?? 20_000);
const repetitions = Number(process.env.REPETITIONS ?? 3);

/** Known certificates, each a match: from the first message until all are recorded, judged, delivered and marked. */
export async function alertsBenchmark(report: Reporter): Promise<void> {
  await withDatabase(async (database) => {
    const rates: number[] = [];
    const costs: number[] = [];
    const inserts = await insertLatencies(database);
    for (let repetition = 0; repetition < repetitions; repetition++) {
      await fillInventory(database, alerts);
      const deliveries = await startDeliveries({
        database,
        corpus: { count: alerts, matchEvery: 1, messageBytes: 0 },
      });
      const { markedSeconds, cpuUs } = await deliveries.turn(alerts, alerts);
      rates.push(alerts / markedSeconds);
      costs.push(cpuUs.certwatch / alerts);
      progress(
        `alerts: ${alerts} in ${markedSeconds.toFixed(1)} s, CPU each: certwatch ${costs.at(-1)!.toFixed()}, PostgreSQL ${(cpuUs.postgres / alerts).toFixed()}, receiver ${(cpuUs.receiver / alerts).toFixed()} us`,
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
  });
}

await runIfMain(import.meta.url, alertsBenchmark);
