import { batchCurve, latencyCurve } from "./growth/alerts.ts";
import type { Curve } from "./growth/curve.ts";
import { writeSection } from "./growth/document.ts";
import { entriesCurve, sansCurve } from "./growth/feed.ts";
import { feedRateCurve } from "./growth/feed-rate.ts";
import { inventoryCurve } from "./growth/inventory.ts";
import { matchRateCurve } from "./growth/match-rate.ts";
import { type Reporter, runIfMain } from "./support/report.ts";

/*
 * `npm run bench:growth`: what things cost when there is more of them, a quarter of an hour or so. `-- entries inventory`:
 * these curves only. `--write-docs`: writes each one's plot and its section of docs/performance/growth.md as soon as it is
 * measured. `SCALE=0.01`: a small one, to see that it works.
 */

const curves: Curve[] = [
  feedRateCurve,
  entriesCurve,
  sansCurve,
  matchRateCurve,
  batchCurve,
  latencyCurve,
  inventoryCurve,
];

/** Cost against the number of watch entries, of names, of matches, of alerts, and against the size of the inventory. */
export async function growth(report: Reporter): Promise<void> {
  const named = process.argv.slice(2).filter((argument) => !argument.startsWith("-"));
  const unknown = named.filter((name) => !curves.some((curve) => curve.name === name));
  if (unknown.length > 0) {
    const names = curves.map(({ name }) => name).join(", ");
    throw new Error(`there is no curve ${unknown.join(", ")}; there are ${names}`);
  }
  for (const curve of curves) {
    if (named.length > 0 && !named.includes(curve.name)) continue;
    const measured = await curve.measure(report);
    if (process.argv.includes("--write-docs")) writeSection(measured);
  }
}

await runIfMain(import.meta.url, growth);
