import { readFileSync } from "node:fs";
import { parseDsn } from "../src/db/dsn.ts";
import { openPool } from "../src/db/pool.ts";
import { buildWatchList } from "../src/watchlist/matcher.ts";
import { readWatchListRows } from "../src/watchlist/read.ts";
import { startSender, startService } from "./support/children.ts";
import { type BenchDatabase, fillWatchList, withDatabase } from "./support/database.ts";
import { progress, type Reporter, runIfMain } from "./support/report.ts";
import { quantile, spread } from "./support/statistics.ts";

const entries = 1_000_000;
const repetitions = 5;
const corpusSize = 2048;
const refreshSeconds = 12;
const refreshesWanted = 3;

/** A refresh of a million entries, in this process for its slices, and in the service for what it costs the feed. */
export async function refresh(report: Reporter): Promise<void> {
  await withDatabase(
    async (database) => {
      await fillWatchList(database, entries);
      await slices(report, database);
      await throughput(report, database);
    },
    { fsync: false },
  );
}

/** CPU time of the main thread so far, ms. */
const threadMs = () => Number(readFileSync("/proc/self/schedstat", "utf8").split(" ")[0]) / 1e6;

/** What one turn of the event loop costs while the list is read and built. */
async function slices(report: Reporter, database: BenchDatabase): Promise<void> {
  const db = openPool(parseDsn(database.dsn));
  const longest: number[] = [];
  const totals: number[] = [];
  for (let repetition = 0; repetition < repetitions; repetition++) {
    let isOver = false;
    const startMs = threadMs();
    const refreshed = readWatchListRows(db, 60_000)
      .then((raw) => buildWatchList(raw))
      .finally(() => {
        isOver = true;
      });
    const costs: number[] = [];
    for (let last = threadMs(); !isOver; ) {
      await new Promise((resolve) => setImmediate(resolve));
      const now = threadMs();
      costs.push(now - last);
      last = now;
    }
    const { watchList } = await refreshed;
    longest.push(Math.max(...costs));
    totals.push(threadMs() - startMs);
    progress(
      `refresh: ${watchList.size} entries, longest slice ${longest.at(-1)!.toFixed(1)} ms, 99.9 % below ${quantile(costs, 0.999).toFixed(1)} ms, ${totals.at(-1)!.toFixed()} ms in all`,
    );
  }
  await db.end();
  report({
    name: "longest slice of the event loop, 1,000,000 entries",
    value: quantile(longest, 0.5),
    unit: "ms CPU",
    bar: { atMost: 20 },
    detail: `${spread(longest, 1)}; reading and building ${spread(totals, 0)} ms CPU of the main thread (turning the loop included)`,
  });
}

/** Messages per second in short turns: those within a refresh against those outside. */
async function throughput(report: Reporter, database: BenchDatabase): Promise<void> {
  const sender = await startSender({ count: corpusSize });
  const service = await startService({
    POSTGRES_DSN: database.dsn,
    CERTSTREAM_URL: sender.url,
    WATCH_REFRESH_INTERVAL_S: String(refreshSeconds),
  });
  const to = await sender.nextClient();
  const refreshedAt = async () =>
    (await service.metrics()).get("certwatch_watch_refresh_timestamp_seconds")! * 1000;
  const turns: { startMs: number; endMs: number; rate: number }[] = [];
  const ends = [await refreshedAt()];
  let sent = 0;
  while (ends.length <= refreshesWanted) {
    const startMs = Date.now();
    const from = performance.now();
    await sender.send({ to, count: corpusSize });
    turns.push({ startMs, endMs: Date.now(), rate: corpusSize / (performance.now() - from) });
    sent += corpusSize;
    if (turns.length % 20 > 0) continue;
    const end = await refreshedAt();
    if (end !== ends.at(-1)) ends.push(end);
  }
  const metrics = await service.metrics();
  const received = metrics.get('certwatch_ct_messages_total{type="certificate_update"}')!;
  const windows = ends
    .slice(1)
    .map((end, i) => ({ start: Math.min(ends[i]! + refreshSeconds * 1000, end), end }));
  const isWithin = (turn: { startMs: number; endMs: number }) =>
    windows.some(({ start, end }) => turn.startMs >= start && turn.endMs <= end);
  const warm = turns.slice(50);
  const during = warm.filter(isWithin).map(({ rate }) => rate);
  const outside = warm.filter((turn) => !isWithin(turn)).map(({ rate }) => rate);
  const mean = (rates: number[]) => rates.length / rates.reduce((sum, rate) => sum + 1 / rate, 0);
  report({
    name: "feed throughput during it, of outside it",
    value: mean(during) / mean(outside),
    unit: "x",
    bar: { atLeast: 0.7 },
    detail: `${during.length} turns of ${corpusSize} messages in ${windows.length} refreshes, ${spread(during, 0)} against ${spread(outside, 0)} messages/ms; a refresh takes ${spread(
      windows.map(({ start, end }) => (end - start) / 1000),
      1,
    )} s`,
  });
  report({
    name: "messages lost meanwhile",
    value: sent - received,
    unit: "",
    bar: { atMost: 0 },
    detail: `of ${sent.toLocaleString("en-US")}`,
  });
}

await runIfMain(import.meta.url, refresh);
