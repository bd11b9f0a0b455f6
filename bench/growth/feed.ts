import { type BenchDatabase, fillWatchList, withDatabase } from "../support/database.ts";
import { detailOf, measurePairs, type Pairs } from "../support/pairs.ts";
import type { Reporter } from "../support/report.ts";
import { median, spread } from "../support/statistics.ts";
import { type Curve, figure, type Measured, pointOf, scaled, upTo } from "./curve.ts";

const corpusSize = 4096;
const pairs = Number(process.env.PAIRS ?? 11);
const usualBytes = 9_000;
const usualNames = 2;
/** What a name of the corpus adds to a message: to the names, to the text of the extension, and to the DER, in base64. */
const bytesPerName = 100;

const how =
  "Nearly nothing matches. certwatch and a bare `ws` consumer, which only counts messages, take turns on one sender.";

/** Nothing is written to the database while it is measured. */
const withoutFsync = { fsync: false };

/** Feed throughput against the length of the watch list. */
export const entriesCurve: Curve = {
  name: "entries",
  async measure(report) {
    const sizes = upTo([10, 100, 1_000, 10_000, 100_000, 1_000_000]);
    const measured = await withDatabase(async (database) => {
      const points: FeedPoint[] = [];
      for (const size of sizes) {
        await fillWatchList(database, size);
        points.push(await pointAt(report, database, { x: size, unit: "entries", names: null }));
      }
      return points;
    }, withoutFsync);
    return sectionOf(measured, {
      heading: "Watch entries",
      text: `${how} Messages are ${figure(usualBytes)} bytes long; most certificates have two names.`,
      label: "watch entries",
      file: "entries.svg",
    });
  },
};

/** Feed throughput against the number of names in each certificate. */
export const sansCurve: Curve = {
  name: "sans",
  async measure(report) {
    const measured = await withDatabase(async (database) => {
      await fillWatchList(database, 10_000);
      const points: FeedPoint[] = [];
      for (const names of [1, 2, 5, 10, 30, 100]) {
        points.push(await pointAt(report, database, { x: names, unit: "names", names }));
      }
      return points;
    }, withoutFsync);
    return sectionOf(measured, {
      heading: "Names in a certificate",
      text: `${how} 10,000 watch entries. Each name makes the message about ${bytesPerName} bytes longer, as in real messages, which have it three times: among the names, in an extension, and in the DER.`,
      label: "names (SANs) in each certificate",
      file: "sans.svg",
    });
  },
};

interface FeedPoint {
  x: number;
  measured: Pairs;
}

async function pointAt(
  report: Reporter,
  database: BenchDatabase,
  { x, unit, names }: { x: number; unit: string; names: number | null },
): Promise<FeedPoint> {
  const grown =
    names === null
      ? {}
      : { namesPerCertificate: names, messageBytes: usualBytes + (names - usualNames) * bytesPerName };
  const measured = await measurePairs({
    database,
    corpus: { count: corpusSize, ...grown },
    pairs,
    messagesPerTurn: scaled(15 * corpusSize, corpusSize),
    label: `growth, ${x} ${unit}`,
  });
  report({
    name: `${figure(x)} ${unit}, of a bare consumer`,
    value: median(measured.ratios),
    unit: "x",
    bar: null,
    detail: detailOf(measured),
  });
  return { x, measured };
}

function sectionOf(
  points: FeedPoint[],
  { heading, text, label, file }: { heading: string; text: string; label: string; file: string },
): Measured {
  const perSecond = (costsUs: number[]) => costsUs.map((us) => 1e6 / us);
  const series = [
    { name: "certwatch", of: (measured: Pairs) => perSecond(measured.certwatchUs) },
    { name: "bare ws consumer", of: (measured: Pairs) => perSecond(measured.bareUs) },
  ];
  return {
    heading,
    text,
    columns: [
      label,
      "bytes of a message",
      "certwatch, messages per CPU second",
      "certwatch, us CPU each",
      "bare consumer, us CPU each",
      "of the bare consumer",
    ],
    rows: points.map(({ x, measured }) => [
      figure(x),
      figure(measured.messageBytes),
      figure(median(perSecond(measured.certwatchUs))),
      spread(measured.certwatchUs),
      spread(measured.bareUs),
      spread(measured.ratios),
    ]),
    plots: [
      {
        file,
        plot: {
          title: `Feed throughput against ${label}`,
          x: { label, scale: "log" },
          y: { label: "messages per CPU second", scale: "linear" },
          series: series.map(({ name, of }) => ({
            name,
            points: points.map(({ x, measured }) => pointOf(x, of(measured))),
          })),
        },
      },
    ],
  };
}
