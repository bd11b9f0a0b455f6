import { setTimeout as sleep } from "node:timers/promises";
import { canSkip } from "../src/feed/prefilter.ts";
import { buildWatchList } from "../src/watchlist/matcher.ts";
import { stopAll } from "./support/children.ts";
import { makeCorpus, usualWatchList } from "./support/corpus.ts";
import { type BenchDatabase, fillInventory, fillWatchList, withDatabase } from "./support/database.ts";
import { type Deliveries, startDeliveries } from "./support/deliveries.ts";
import { cold, interleaved } from "./support/interleaved.ts";
import { measurePairs } from "./support/pairs.ts";
import { median } from "./support/statistics.ts";

/*
 * `npm run bench:regression`: has something become several times slower than it was? Ratios only, of what runs in turns in
 * one run, so that the machine cancels out; exit status 1 when one of them is beyond its limit twice.
 * `-- prefilter feed`: these only.
 *
 * The limits are wide, about half of what is measured on a quiet machine: machines that check changes are shared and
 * small, the garbage collector falls into one turn and not into the other, and processors differ in what they do well. A
 * check that fails without reason is soon not looked at. What they catch is the loss of an idea (the names of each message
 * are parsed again, a lookup walks the list, every alert is a transaction), not of some per cent: `npm run bench` is for
 * those.
 */

interface Check {
  name: string;
  limit: { atLeast: number } | { atMost: number };
  measure(): Promise<number>;
}

const corpusSize = 4_096;
const pairs = 5;
const alerts = 5_000;
const alertsPerPass = 1_000;
const rounds = 15;

const checks: Check[] = [
  {
    name: "prefilter: as fast as JSON.parse, times",
    limit: { atLeast: 3.5 },
    async measure() {
      const messages = makeCorpus({ count: 1_024 });
      const { watchList } = await buildWatchList(usualWatchList(10_000));
      const [one, other] = [cold(messages), cold(messages)];
      return interleaved(
        (i) => JSON.parse(one(i).toString()),
        (i) => canSkip(other(i), watchList.table),
        { rounds, calls: 1_000 },
      );
    },
  },
  {
    name: "matcher: a name among a million entries, of among 100",
    limit: { atMost: 4 },
    async measure() {
      const [few, many] = await Promise.all(
        [100, 1_000_000].map(async (count) => (await buildWatchList(usualWatchList(count))).watchList),
      );
      const nameOf = (i: number) => `www.shop${i & 4095}.com`;
      return interleaved(
        (i) => many!.match(nameOf(i)),
        (i) => few!.match(nameOf(i)),
        { rounds, calls: 20_000 },
      );
    },
  },
  {
    name: "feed: messages per CPU second, of a bare consumer",
    limit: { atLeast: 0.6 },
    measure: () =>
      withDatabase(async (database) => {
        await fillWatchList(database, 10_000);
        const messagesPerTurn = 4 * corpusSize;
        const corpus = { count: corpusSize };
        return median(
          (await measurePairs({ database, corpus, pairs, messagesPerTurn, label: "feed" })).ratios,
        );
      }),
  },
  {
    name: "alerts: transactions for each",
    limit: { atMost: 0.25 },
    measure: () => withDatabase(transactionsPerAlert),
  },
  {
    name: "alerts: CPU time of PostgreSQL, of certwatch's",
    limit: { atMost: 1.5 },
    measure: () => withDatabase(databaseCpuOfAlerts),
  },
];

/** A statement whose plan compares all rows of a batch with each other takes several times as long. */
async function databaseCpuOfAlerts(database: BenchDatabase): Promise<number> {
  const { turn } = await startAlerts(database);
  await turn(alerts, alerts); // code is compiled, connections are made
  const { cpuUs } = await turn(alerts, alerts);
  return cpuUs.postgres / cpuUs.certwatch;
}

async function startAlerts(database: BenchDatabase): Promise<Deliveries> {
  await fillInventory(database, alerts);
  return await startDeliveries({
    database,
    corpus: { count: alertsPerPass, matchEvery: 1, messageBytes: 0 },
  });
}

/** Recorded, judged, delivered and marked in batches, an alert has a small part of four transactions. */
async function transactionsPerAlert(database: BenchDatabase): Promise<number> {
  const before = await commits(database);
  const { turn } = await startAlerts(database);
  await turn(alerts, alerts);
  // A session counts its transactions for others at its end; until then when it finds the time.
  await stopAll();
  return ((await commits(database)) - before) / alerts;
}

async function commits(database: BenchDatabase): Promise<number> {
  await sleep(1_000); // before PostgreSQL 15 a process collects the counts, twice a second
  const { rows } = await database.run(
    "SELECT xact_commit::int AS n FROM pg_stat_database WHERE datname = current_database()",
  );
  return rows[0].n;
}

/** Whether the ratio, or the one of a second try, is within its limit. */
async function passes({ name, limit, measure }: Check): Promise<boolean> {
  for (const attempt of ["", ", again"]) {
    const ratio = await measure();
    const isWithin = "atLeast" in limit ? ratio >= limit.atLeast : ratio <= limit.atMost;
    const bound = "atLeast" in limit ? `>= ${limit.atLeast}` : `<= ${limit.atMost}`;
    const verdict = isWithin ? "ok" : "BEYOND";
    console.log(
      `${(name + attempt).padEnd(62)} ${ratio.toFixed(3).padStart(8)}  ${bound.padEnd(8)} ${verdict}`,
    );
    if (isWithin) return true;
  }
  return false;
}

const named = process.argv.slice(2);
let failures = 0;
for (const check of checks) {
  if (named.length > 0 && !named.some((start) => check.name.startsWith(start))) continue;
  if (!(await passes(check))) failures += 1;
}
if (failures > 0) console.error(`beyond their limits: ${failures}`);
process.exitCode = failures > 0 ? 1 : 0;
