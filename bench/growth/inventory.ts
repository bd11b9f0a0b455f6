import type { MatchBasis } from "../../src/inventory/recognise.ts";
import { type BenchDatabase, serverVersion, withDatabase } from "../support/database.ts";
import type { Plot } from "../support/plot.ts";
import { progress, type Reporter } from "../support/report.ts";
import { median, spread } from "../support/statistics.ts";
import { type Curve, figure, type Measured, pointOf, upTo } from "./curve.ts";
import { fits, growInventory, sample } from "./inventory-table.ts";
import { alertFor, type Judging, judge } from "./judging.ts";

const alertsPerTurn = 1_000;
const turns = 9;
const warmingTurns = 2;

const bases: { basis: MatchBasis; name: string }[] = [
  { basis: "fingerprint", name: "by fingerprint" },
  { basis: "tbs", name: "by TBS hash" },
  { basis: "serial", name: "by serial number" },
  { basis: "none", name: "not at all" },
];

interface InventoryPoint {
  size: number;
  bytes: number;
  turns: Record<MatchBasis, Judging[]>;
}

/** What judging takes when the inventory grows. */
export const inventoryCurve: Curve = {
  name: "inventory",
  measure: (report) =>
    withDatabase(async (database) => {
      const points: InventoryPoint[] = [];
      for (const size of upTo([10_000, 100_000, 1_000_000, 10_000_000])) {
        const from = points.at(-1)?.size ?? 0;
        if (!fits(database, size - from)) break;
        const bytes = await growInventory(database, from, size);
        points.push(await pointAt(report, database, { size, bytes }));
      }
      return sectionOf(points, await serverVersion(database));
    }),
};

async function pointAt(
  report: Reporter,
  database: BenchDatabase,
  { size, bytes }: { size: number; bytes: number },
): Promise<InventoryPoint> {
  const point: InventoryPoint = { size, bytes, turns: { fingerprint: [], tbs: [], serial: [], none: [] } };
  for (let turn = -warmingTurns; turn < turns; turn++) {
    for (const { basis, name } of bases) {
      await database.run("TRUNCATE public.alerts");
      const own = await sample(database, { size, count: alertsPerTurn, withTbs: basis !== "serial" });
      const alerts = own.map((certificate) => alertFor(certificate, basis));
      const judging = await judge(database.dsn, alerts, basis);
      progress(
        `growth: inventory of ${size}, ${name}: ${judging.judgedMs.toFixed()} ms, ${judging.lookUpMs.toFixed()} ms of it looking up`,
      );
      if (turn >= 0) point.turns[basis].push(judging);
    }
  }
  for (const { basis, name } of bases) {
    const lookUps = point.turns[basis].map(({ lookUpMs }) => lookUpMs);
    const all = point.turns[basis].map(({ judgedMs }) => judgedMs);
    report({
      name: `inventory of ${figure(size)}, ${name}`,
      value: median(all),
      unit: "ms",
      bar: null,
      detail: `for ${alertsPerTurn} alerts: ${spread(all, 0)}; ${spread(lookUps, 0)} ms of it looking up; table and indexes ${figure(bytes / 1e6)} MB`,
    });
  }
  return point;
}

function sectionOf(points: InventoryPoint[], version: string): Measured {
  const judged = (turnsOf: Judging[]) => turnsOf.map(({ judgedMs }) => judgedMs);
  const lookedUp = (turnsOf: Judging[]) => turnsOf.map(({ lookUpMs }) => lookUpMs);
  const plotOf = (verb: string, label: string, of: (turnsOf: Judging[]) => number[]): Plot => ({
    title: `${verb} ${figure(alertsPerTurn)} alerts against the size of the inventory`,
    x: { label: "rows of public.certs", scale: "log" },
    y: { label, scale: "linear" },
    series: bases.map(({ basis, name }) => ({
      name,
      points: points.map((point) => pointOf(point.size, of(point.turns[basis]))),
    })),
  });
  return {
    heading: "The inventory",
    text: `Wall time in which the service's judge judges ${figure(alertsPerTurn)} certificates whose grace is over, from reading them to the commit of the last verdict. In brackets: the part of it that the lookups in \`public.certs\` take. ${version} with fsync. Each turn takes other certificates, from all over the inventory. The machine's memory holds the table; PostgreSQL's own memory (128 MB) does not. Certificates in the last two columns were first looked up by fingerprint and TBS hash.`,
    columns: ["rows", "MB, indexes included", ...bases.map(({ name }) => `${name}, ms`)],
    rows: points.map((point) => [
      figure(point.size),
      figure(point.bytes / 1e6),
      ...bases.map(({ basis }) => {
        const turnsOf = point.turns[basis];
        return `${figure(median(judged(turnsOf)))} (${figure(median(lookedUp(turnsOf)))})`;
      }),
    ]),
    plots: [
      {
        file: "inventory.svg",
        plot: plotOf("Judging", "ms, to the commit of the last verdict", judged),
      },
      {
        file: "inventory-lookups.svg",
        plot: plotOf("Looking up", "ms, for the statements that look into public.certs", lookedUp),
      },
    ],
  };
}
