import type { Database } from "../db/pool.ts";
import { Inventory } from "../inventory/recognise.ts";
import type { Logger } from "../log.ts";
import { Loop } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import { reportJudged } from "./judge-report.ts";
import { clearIncidents } from "./sql/clear-incidents.ts";
import { openIncidents, withUpdateTypes } from "./sql/open-incidents.ts";
import { clearanceOf } from "./verdict.ts";

const pageSize = 500;
const deadlineMs = 15_000;
const intervalMs = 60_000;
/** Incidents that are at most this old are looked up each minute. */
const youngSeconds = 86_400;
/** Older ones, up to this age, are looked up each hour. */
const oldSeconds = 7 * 86_400;
const looksPerHour = 3_600_000 / intervalMs;

export interface SecondLookOptions {
  db: Database;
  log: Logger;
  metrics: Metrics;
  /** False in observer mode. */
  deliver: boolean;
  /** Called when all-clears are due for delivery. */
  onCleared: () => void;
  onError: (error: unknown) => void;
}

/**
 * Looks open incidents up again: each minute for a day, each hour for a week. An inventory that comes late (a deploy
 * hook that runs after the certificate is logged, a nightly job) so brings the all-clear. Only the fingerprint and
 * the TBS hash count here, since the public fields of a certificate prove nothing after the fact.
 */
export function createSecondLook(options: SecondLookOptions): Loop {
  const inventory = new Inventory(options.db, "tbs");
  let looks = 0;
  const step = async (signal: AbortSignal) => {
    const withinSeconds = looks % looksPerHour === 0 ? oldSeconds : youngSeconds;
    await lookAgain(options, inventory, withinSeconds, signal);
    looks += 1;
    return intervalMs;
  };
  return new Loop({ name: "second look", step, onError: options.onError });
}

async function lookAgain(
  { db, log, metrics, deliver, onCleared }: SecondLookOptions,
  inventory: Inventory,
  withinSeconds: number,
  signal: AbortSignal,
): Promise<void> {
  let afterId = 0;
  while (!signal.aborted) {
    const page = await openIncidents(db, { withinSeconds, afterId, limit: pageSize, deadlineMs });
    const recognitions = await inventory.recognise(page);
    const recognised = page.filter(({ id }) => recognitions.get(id)!.basis !== "none");
    const clearances = (await withUpdateTypes(db, recognised, deadlineMs)).flatMap((certificate) =>
      clearanceOf(certificate, recognitions.get(certificate.id)!),
    );
    const cleared =
      clearances.length > 0 ? await clearIncidents(db, clearances, { deliver, deadlineMs }) : [];
    reportJudged(cleared, { log, metrics });
    if (cleared.length > 0) onCleared();
    if (page.length < pageSize) return;
    afterId = page.at(-1)!.id;
  }
}
