import type { Database } from "../db/pool.ts";
import type { Logger } from "../log.ts";
import { Loop } from "../loop.ts";
import { limitKeptCertificates, pruneAlerts, reduceExcuses } from "./sql/prune-alerts.ts";

const batchSize = 5_000;
const deadlineMs = 30_000;
/** Certificates of `pending` rows and `suspicious` events are kept up to 1 GiB in all. */
const maxKeptCertificateBytes = 2 ** 30;

export interface PrunerOptions {
  db: Database;
  log: Logger;
  intervalSeconds: number;
  retentionSeconds: number;
  onError: (error: unknown) => void;
}

/** Makes the cleanup loop, which deletes alerts older than the retention, in batches, so that locks are short. */
export function createPruner({ db, log, intervalSeconds, retentionSeconds, onError }: PrunerOptions): Loop {
  const step = async (signal: AbortSignal) => {
    let deleted = 0;
    let undelivered = 0;
    while (!signal.aborted) {
      const options = { retentionSeconds, limit: batchSize, deadlineMs };
      const batch = await pruneAlerts(db, options);
      deleted += batch.deleted;
      undelivered += batch.undelivered;
      const reduced = await reduceExcuses(db, options);
      if (batch.deleted < batchSize && reduced < batchSize) break;
    }
    await limitKeptCertificates(db, { maxBytes: maxKeptCertificateBytes, deadlineMs });
    if (deleted > 0) log.info({ deleted, undelivered }, "deleted alerts older than the retention");
    return intervalSeconds * 1000;
  };
  return new Loop({ name: "cleanup", step, onError, stallMs: 3_600_000 });
}
