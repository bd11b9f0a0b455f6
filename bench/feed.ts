import { startBareConsumer, startSender, startService, stopAll } from "./support/children.ts";
import { cpuMicroseconds } from "./support/cpu.ts";
import { fillWatchList, openDatabase } from "./support/database.ts";
import { progress, type Reporter, runIfMain } from "./support/report.ts";
import { median, spread } from "./support/statistics.ts";

const pairs = Number(process.env.PAIRS ?? 11);
const corpusSize = 4096;
const messagesPerTurn = 15 * corpusSize;

/**
 * Messages per CPU second of the whole service, nearly nothing matching, against a consumer that does nothing: both are
 * connected to one sender and take turns, so that what the machine does besides hits both.
 */
export async function feed(report: Reporter): Promise<void> {
  const database = await openDatabase({ fsync: false });
  try {
    for (const [entries, bar] of [
      [100, 0.9],
      [1_000_000, 0.85],
    ] as const) {
      await fillWatchList(database, entries);
      const sender = await startSender({ count: corpusSize });
      const bare = { pid: await startBareConsumer(sender.url), client: await sender.nextClient() };
      const service = await startService({
        POSTGRES_DSN: database.dsn,
        CERTSTREAM_URL: sender.url,
        WATCH_REFRESH_INTERVAL_S: "86400",
      });
      const certwatch = { pid: service.pid, client: await sender.nextClient() };
      const turn = async ({ pid, client }: { pid: number; client: number }) => {
        const startCpu = cpuMicroseconds(pid);
        const startSender = cpuMicroseconds(sender.pid);
        const startMs = performance.now();
        await sender.send({ to: client, count: messagesPerTurn });
        const cpu = cpuMicroseconds(pid) - startCpu;
        costs.sender.push((cpuMicroseconds(sender.pid) - startSender) / messagesPerTurn);
        busy.push(cpu / 1000 / (performance.now() - startMs));
        return cpu / messagesPerTurn;
      };
      const busy: number[] = [];
      const costs = { bare: [] as number[], certwatch: [] as number[], sender: [] as number[] };
      for (let warming = 0; warming < 3; warming++) {
        await turn(bare); // both are compiled before it counts
        await turn(certwatch);
      }
      for (const values of [busy, ...Object.values(costs)]) values.length = 0;
      const ratios: number[] = [];

      for (let pair = 0; pair < pairs; pair++) {
        const isBareFirst = pair % 2 === 0;
        const first = await turn(isBareFirst ? bare : certwatch);
        const second = await turn(isBareFirst ? certwatch : bare);
        const [bareCost, certwatchCost] = isBareFirst ? [first, second] : [second, first];
        costs.bare.push(bareCost);
        costs.certwatch.push(certwatchCost);
        ratios.push(bareCost / certwatchCost);
        progress(
          `feed ${entries}: ${bareCost.toFixed(2)} ${certwatchCost.toFixed(2)} us, ${ratios.at(-1)!.toFixed(3)}`,
        );
      }
      report({
        name: `of a bare consumer, ${entries.toLocaleString("en-US")} entries`,
        value: median(ratios),
        unit: "x",
        bar: { atLeast: bar },
        detail: `${spread(ratios, 3)}; CPU per message: bare ${spread(costs.bare)} us, certwatch ${spread(costs.certwatch)}, sender ${spread(costs.sender)} us; consumer busy ${(100 * median(busy)).toFixed()} %`,
      });
      await stopAll();
    }
  } finally {
    await stopAll();
    await database.close();
  }
}

await runIfMain(import.meta.url, feed);
