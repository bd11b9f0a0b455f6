import { stopAll } from "../support/children.ts";
import { fillInventory, serverVersion, withDatabase } from "../support/database.ts";
import { type Deliveries, startDeliveries } from "../support/deliveries.ts";
import { progress, type Reporter } from "../support/report.ts";
import { median, spread } from "../support/statistics.ts";
import { type Curve, figure, pointOf, scaled, upTo } from "./curve.ts";

const corpus = { count: 1_000, matchEvery: 1, messageBytes: 0 };
const warmingTurns = 2;

interface AlertPoint {
  x: number;
  /** Alerts per second, up to the last POST. */
  rates: number[];
  /** The same, up to the commit that the last one was delivered. */
  markedRates: number[];
  /** CPU time of certwatch for each. */
  certwatchUs: number[];
}

/** Alerts per second against how many come at once. */
export const batchCurve: Curve = {
  name: "batch",
  measure: (report) =>
    withDatabase(async (database) => {
      const turnsOf: Record<number, number> = { 100: 15, 1000: 9, 10000: 5, 30000: 3 };
      const sizes = upTo(Object.keys(turnsOf).map(Number));
      const passes = sizes.map((size) => turnsOf[size]! * Math.ceil(size / corpus.count));
      const allPasses = passes.reduce((sum, count) => sum + count, warmingTurns);
      await fillInventory(database, allPasses * corpus.count);
      const deliveries = await startDeliveries({ database, corpus });
      for (let turn = 0; turn < warmingTurns; turn++) await deliveries.turn(corpus.count, corpus.count);
      const points: AlertPoint[] = [];
      for (const size of sizes) {
        const point = await measureTurns(deliveries, { x: size, alerts: size, turns: turnsOf[size]! });
        tell(report, `${figure(size)} at once`, point);
        points.push(point);
      }
      return {
        heading: "Alerts at once",
        text: `The sender sends known certificates as fast as a warmed-up service reads them; the receiver answers at once. ${await serverVersion(database)} with fsync, on the same machine. At most 10,000 certificates wait for their first lookup: the service judges any others when their grace of 10 s is over.`,
        columns: ["alerts at once", ...columns],
        rows: points.map((point) => [figure(point.x), ...cellsOf(point)]),
        plots: [
          {
            file: "alerts-batch.svg",
            plot: {
              title: "Alerts per second against how many come at once",
              x: { label: "alerts at once", scale: "log" },
              y: { label: "alerts per second, to the last POST", scale: "linear" },
              series: [{ name: "certwatch", points: points.map(({ x, rates }) => pointOf(x, rates)) }],
            },
          },
        ],
      };
    }),
};

/** Alerts per second against the time that the receiver takes. */
export const latencyCurve: Curve = {
  name: "receiver",
  measure: (report) =>
    withDatabase(async (database) => {
      const alerts = scaled(2_000, corpus.count);
      const turns = 5;
      const points: AlertPoint[] = [];
      for (const delayMs of [0, 1, 5, 20, 100]) {
        await fillInventory(database, (warmingTurns + turns) * alerts);
        const deliveries = await startDeliveries({ database, corpus, receiverDelayMs: delayMs });
        for (let turn = 0; turn < warmingTurns; turn++) await deliveries.turn(alerts, alerts);
        const point = await measureTurns(deliveries, { x: delayMs, alerts, turns });
        tell(report, `receiver takes ${delayMs} ms`, point);
        points.push(point);
        await stopAll();
      }
      const underWay = ({ x, rates }: AlertPoint) => (x === 0 ? "" : figure((median(rates) * x) / 1000));
      return {
        heading: "The receiver's latency",
        text: `${figure(alerts)} known certificates at once, to a warmed-up service. ${await serverVersion(database)} with fsync, on the same machine. The last column is the average number of attempts that wait for an answer: the rate times the latency. For \`info\` alerts, such as these, the limit is 24 (\`src/alerts/held-events.ts\`).`,
        columns: ["answers after, ms", ...columns, "attempts waiting"],
        rows: points.map((point) => [figure(point.x), ...cellsOf(point), underWay(point)]),
        plots: [
          {
            file: "alerts-receiver.svg",
            plot: {
              title: "Alerts per second against the receiver's latency",
              x: { label: "the receiver answers after, ms", scale: "log" },
              y: { label: "alerts per second, to the last POST", scale: "linear" },
              series: [{ name: "certwatch", points: points.map(({ x, rates }) => pointOf(x, rates)) }],
            },
          },
        ],
      };
    }),
};

async function measureTurns(
  deliveries: Deliveries,
  { x, alerts, turns }: { x: number; alerts: number; turns: number },
): Promise<AlertPoint> {
  const point: AlertPoint = { x, rates: [], markedRates: [], certwatchUs: [] };
  for (let turn = 0; turn < turns; turn++) {
    const { deliveredSeconds, markedSeconds, cpuUs } = await deliveries.turn(alerts, alerts);
    point.rates.push(alerts / deliveredSeconds);
    point.markedRates.push(alerts / markedSeconds);
    point.certwatchUs.push(cpuUs.certwatch / alerts);
    progress(
      `growth: ${alerts} alerts in ${deliveredSeconds.toFixed(2)} s, marked after ${markedSeconds.toFixed(2)} s`,
    );
  }
  return point;
}

function tell(report: Reporter, name: string, { rates, markedRates, certwatchUs }: AlertPoint): void {
  const detail = `${spread(rates, 0)}; marked ${spread(markedRates, 0)}/s; CPU of certwatch ${spread(certwatchUs, 0)} us each`;
  report({ name: `alerts, ${name}`, value: median(rates), unit: "/s", bar: null, detail });
}

const columns = ["alerts/s, to the last POST", "alerts/s, to its commit", "certwatch, us CPU each"];

const cellsOf = ({ rates, markedRates, certwatchUs }: AlertPoint): string[] => [
  spread(rates, 0),
  spread(markedRates, 0),
  spread(certwatchUs, 0),
];
