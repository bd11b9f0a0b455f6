import { startBareConsumer, startSender, startService } from "../support/children.ts";
import { cpuMicroseconds } from "../support/cpu.ts";
import { fillWatchList, withDatabase } from "../support/database.ts";
import type { Reporter } from "../support/report.ts";
import { median, spread } from "../support/statistics.ts";
import { type Curve, figure, type Measured, pointOf, scaled, upTo } from "./curve.ts";

const entries = 10_000;
const corpusSize = 4096;
const turns = 3;
const secondsPerTurn = 5;

interface FeedRatePoint {
  messagesPerSecond: number;
  /** CPU time of wall time, per cent. */
  certwatch: number[];
  bare: number[];
}

/** What a feed costs, of one core, against the number of messages that it sends in a second. */
export const feedRateCurve: Curve = {
  name: "feed-rate",
  measure: (report) =>
    withDatabase(async (database) => {
      const rates = upTo([500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000]);
      await fillWatchList(database, entries);
      const sender = await startSender({ count: corpusSize });
      const bare = { pid: await startBareConsumer(sender.url), client: await sender.nextClient() };
      const service = await startService({ POSTGRES_DSN: database.dsn, CERTSTREAM_URL: sender.url });
      const certwatch = { pid: service.pid, client: await sender.nextClient() };
      const shareOf = async ({ pid, client }: typeof bare, messagesPerSecond: number) => {
        const startUs = cpuMicroseconds(pid);
        const startMs = performance.now();
        const count = scaled(messagesPerSecond * secondsPerTurn, corpusSize);
        await sender.send({ to: client, count, ratePerSecond: messagesPerSecond });
        return (cpuMicroseconds(pid) - startUs) / 10 / (performance.now() - startMs);
      };
      // Both are compiled before it counts.
      for (const consumer of [bare, certwatch])
        await sender.send({ to: consumer.client, count: 30 * corpusSize });
      const points: FeedRatePoint[] = [];
      for (const messagesPerSecond of rates) {
        const point: FeedRatePoint = { messagesPerSecond, certwatch: [], bare: [] };
        for (let turn = 0; turn < turns; turn++) {
          point.bare.push(await shareOf(bare, messagesPerSecond));
          point.certwatch.push(await shareOf(certwatch, messagesPerSecond));
        }
        tell(report, point);
        points.push(point);
      }
      return sectionOf(points);
    }),
};

function tell(report: Reporter, { messagesPerSecond, certwatch, bare }: FeedRatePoint): void {
  report({
    name: `${figure(messagesPerSecond)} messages/s, of one core`,
    value: median(certwatch),
    unit: "%",
    bar: null,
    detail: `${spread(certwatch, 1)}; a bare consumer ${spread(bare, 1)} %`,
  });
}

function sectionOf(points: FeedRatePoint[]): Measured {
  return {
    heading: "Messages in a second",
    text: `CPU time of the whole process, in per cent of one core. ${figure(entries)} watch entries, nearly nothing matches, everything is on. Messages are 9,000 bytes long. The sender sends every millisecond what is due, so at low rates most of the cost is waking up.`,
    columns: ["messages/s", "certwatch, % of a core", "bare consumer, % of a core"],
    rows: points.map(({ messagesPerSecond, certwatch, bare }) => [
      figure(messagesPerSecond),
      spread(certwatch, 1),
      spread(bare, 1),
    ]),
    plots: [
      {
        file: "feed-rate.svg",
        plot: {
          title: "What a feed costs",
          x: { label: "messages per second", scale: "log" },
          y: { label: "CPU time, % of one core", scale: "linear" },
          series: [
            { name: "certwatch", points: points.map((p) => pointOf(p.messagesPerSecond, p.certwatch)) },
            { name: "bare ws consumer", points: points.map((p) => pointOf(p.messagesPerSecond, p.bare)) },
          ],
        },
      },
    ],
  };
}
