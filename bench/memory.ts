import { startSender, startService, stopAll } from "./support/children.ts";
import { peakResidentMb } from "./support/cpu.ts";
import { fillWatchList, withDatabase } from "./support/database.ts";
import { type Reporter, runIfMain } from "./support/report.ts";

const corpusSize = 2048;
const refreshSeconds = 5;

/** The most memory that the service ever had, with the feed at saturation and one refresh of the watch list. */
export async function memory(report: Reporter): Promise<void> {
  await withDatabase(
    async (database) => {
      for (const [entries, bar] of [
        [100, 150],
        [1_000_000, 350],
      ] as const) {
        await fillWatchList(database, entries);
        const sender = await startSender({ count: corpusSize });
        const service = await startService({
          POSTGRES_DSN: database.dsn,
          CERTSTREAM_URL: sender.url,
          WATCH_REFRESH_INTERVAL_S: String(refreshSeconds),
        });
        const to = await sender.nextClient();
        const refreshedAt = async () =>
          (await service.metrics()).get("certwatch_watch_refresh_timestamp_seconds")!;
        const before = await refreshedAt();
        let sent = 0;
        do {
          await sender.send({ to, count: 20 * corpusSize });
          sent += 20 * corpusSize;
        } while ((await refreshedAt()) === before);
        report({
          name: `VmHWM, ${entries.toLocaleString("en-US")} entries`,
          value: peakResidentMb(service.pid),
          unit: "MB",
          bar: { atMost: bar },
          detail: `after ${sent.toLocaleString("en-US")} messages and one refresh`,
        });
        await stopAll();
      }
    },
    { fsync: false },
  );
}

await runIfMain(import.meta.url, memory);
