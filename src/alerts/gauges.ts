import type { Database } from "../db/pool.ts";
import { Loop } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import { countAlerts } from "./sql/count-alerts.ts";

const intervalMs = 15_000;
const deadlineMs = 10_000;

/**
 * Keeps the gauges that are read from `public.alerts`, every 15 s. So a scrape never waits for the database, and an
 * event that was committed just before a crash is counted after the restart.
 */
export function createAlertGauges(options: {
  db: Database;
  metrics: Metrics;
  onError: (error: unknown) => void;
}): Loop {
  const { db, metrics, onError } = options;
  const step = async () => {
    const counts = await countAlerts(db, deadlineMs);
    metrics.storedPending.set(counts.pending);
    metrics.storedUndelivered.set(counts.undelivered);
    metrics.storedGivenUp.set(counts.givenUp);
    metrics.storedSuspiciousLastHour.set(counts.suspiciousLastHour);
    return intervalMs;
  };
  return new Loop({ name: "alert gauges", step, onError });
}
