import { startSender, startService } from "./support/children.ts";
import { cpuMicroseconds } from "./support/cpu.ts";
import { fillWatchList, withDatabase } from "./support/database.ts";
import { progress, type Reporter, runIfMain } from "./support/report.ts";
import { median, spread } from "./support/statistics.ts";

const starts = 9;

/** From the start of the process to the line that says that the feed is connected. */
export async function start(report: Reporter): Promise<void> {
  await withDatabase(async (database) => {
    await fillWatchList(database, 10_000);
    const sender = await startSender({ count: 16 });
    const times: number[] = [];
    const cpu: number[] = [];
    for (let i = 0; i < starts; i++) {
      const service = await startService({ POSTGRES_DSN: database.dsn, CERTSTREAM_URL: sender.url });
      times.push(service.connectedAfterMs / 1000);
      cpu.push(cpuMicroseconds(service.pid) / 1e6);
      progress(`start: ${times.at(-1)!.toFixed(2)} s, ${cpu.at(-1)!.toFixed(2)} s CPU`);
      await service.stop();
    }
    report({
      name: "to connected, PostgreSQL, 10,000 entries",
      value: median(times),
      unit: "s",
      bar: { atMost: 1 },
      detail: `${spread(times)}; ${spread(cpu)} s of it CPU time of the process`,
    });
  });
}

await runIfMain(import.meta.url, start);
