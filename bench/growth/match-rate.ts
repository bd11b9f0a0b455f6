import { stopAll } from "../support/children.ts";
import { type BenchDatabase, fillInventory, serverVersion, withDatabase } from "../support/database.ts";
import { type DeliveryTurn, startDeliveries } from "../support/deliveries.ts";
import { progress, type Reporter } from "../support/report.ts";
import { median, spread } from "../support/statistics.ts";
import { type Curve, figure, type Measured, pointOf, scaled } from "./curve.ts";

/** Every rate has a whole number of matches in it. */
const corpusSize = 4_000;
const turns = 7;
const warmingTurns = 2;

/** Of so many messages one matches (0: none), and a turn has so many: enough alerts, and not for minutes. */
const rates = [
  { matchEvery: 0, messages: 60_000 },
  { matchEvery: 1_000, messages: 60_000 },
  { matchEvery: 100, messages: 60_000 },
  { matchEvery: 10, messages: 20_000 },
  { matchEvery: 2, messages: 4_000 },
  { matchEvery: 1, messages: 4_000 },
];

/** CPU time for each message. */
interface RatePoint {
  percent: number;
  alerts: number;
  certwatchUs: number[];
  postgresUs: number[];
  receiverUs: number[];
}

/** What a message costs when more of them are alerts. */
export const matchRateCurve: Curve = {
  name: "match-rate",
  measure: (report) =>
    withDatabase(async (database) => {
      const points: RatePoint[] = [];
      for (const rate of rates) points.push(await pointAt(report, database, rate));
      return sectionOf(points, await serverVersion(database));
    }),
};

async function pointAt(
  report: Reporter,
  database: BenchDatabase,
  rate: { matchEvery: number; messages: number },
): Promise<RatePoint> {
  const { matchEvery } = rate;
  const messages = scaled(rate.messages, corpusSize);
  const alerts = matchEvery === 0 ? 0 : messages / matchEvery;
  const sent = matchEvery === 0 ? 0 : (warmingTurns + turns) * messages;
  await fillInventory(database, sent, { every: Math.max(matchEvery, 1) });
  const deliveries = await startDeliveries({ database, corpus: { count: corpusSize, matchEvery } });
  for (let turn = 0; turn < warmingTurns; turn++) await deliveries.turn(messages, alerts);
  const percent = (100 * alerts) / messages;
  const point: RatePoint = { percent, alerts, certwatchUs: [], postgresUs: [], receiverUs: [] };
  for (let turn = 0; turn < turns; turn++) {
    const { cpuUs, markedSeconds } = await deliveries.turn(messages, alerts);
    add(point, cpuUs, messages);
    progress(`growth, ${percent} % match: ${messages} in ${markedSeconds.toFixed(2)} s, ${detailOf(point)}`);
  }
  await stopAll();
  report({
    name: `${percent} % match, CPU of certwatch per message`,
    value: median(point.certwatchUs),
    unit: "us",
    bar: null,
    detail: detailOf(point),
  });
  return point;
}

function add(point: RatePoint, cpuUs: DeliveryTurn["cpuUs"], messages: number): void {
  point.certwatchUs.push(cpuUs.certwatch / messages);
  point.postgresUs.push(cpuUs.postgres / messages);
  point.receiverUs.push(cpuUs.receiver / messages);
}

const detailOf = ({ certwatchUs, postgresUs, receiverUs, alerts }: RatePoint): string =>
  `${alerts} alerts a turn; CPU per message: certwatch ${spread(certwatchUs)}, PostgreSQL ${spread(postgresUs)}, receiver ${spread(receiverUs)} us`;

function sectionOf(points: RatePoint[], version: string): Measured {
  const free = median(points[0]!.certwatchUs);
  const perAlert = ({ percent, certwatchUs }: RatePoint) =>
    percent === 0 ? "" : figure((median(certwatchUs) - free) / (percent / 100));
  const matching = points.filter(({ percent }) => percent > 0);
  return {
    heading: "Messages that match",
    text: `Every match is a known certificate. The service records, judges and delivers it, and writes the outcome down; a turn ends with the last of these commits. Messages come as fast as they are read. ${version} with fsync, on the same machine; its CPU time is that of all its processes. The last column is what a match costs more than a message that does not match.`,
    columns: [
      "of the messages match",
      "certwatch, us CPU per message",
      "PostgreSQL",
      "receiver",
      "certwatch, us CPU per alert",
    ],
    rows: points.map((point) => [
      `${point.percent} %`,
      spread(point.certwatchUs),
      spread(point.postgresUs),
      spread(point.receiverUs),
      perAlert(point),
    ]),
    plots: [
      {
        file: "match-rate.svg",
        plot: {
          title: "CPU time of a message against the rate of matches",
          x: { label: "of the messages match, %", scale: "log" },
          y: { label: "us CPU per message", scale: "log" },
          series: [
            { name: "certwatch", points: points.map((p) => pointOf(p.percent, p.certwatchUs)) },
            { name: "PostgreSQL", points: matching.map((p) => pointOf(p.percent, p.postgresUs)) },
            { name: "receiver", points: matching.map((p) => pointOf(p.percent, p.receiverUs)) },
          ],
        },
      },
    ],
  };
}
