import { fillWatchList, withDatabase } from "./support/database.ts";
import { detailOf, measurePairs } from "./support/pairs.ts";
import { type Reporter, runIfMain } from "./support/report.ts";
import { median } from "./support/statistics.ts";

const pairs = Number(process.env.PAIRS ?? 11);
const corpusSize = 4096;
const messagesPerTurn = 15 * corpusSize;

/** Messages per CPU second of the whole service, nearly nothing matching, against a consumer that does nothing. */
export async function feed(report: Reporter): Promise<void> {
  await withDatabase(
    async (database) => {
      for (const [entries, bar] of [
        [100, 0.9],
        [1_000_000, 0.85],
      ] as const) {
        await fillWatchList(database, entries);
        const measured = await measurePairs({
          database,
          corpus: { count: corpusSize },
          pairs,
          messagesPerTurn,
          label: `feed ${entries}`,
        });
        report({
          name: `of a bare consumer, ${entries.toLocaleString("en-US")} entries`,
          value: median(measured.ratios),
          unit: "x",
          bar: { atLeast: bar },
          detail: detailOf(measured),
        });
      }
    },
    { fsync: false },
  );
}

await runIfMain(import.meta.url, feed);
