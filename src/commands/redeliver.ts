import { countRedeliverable, redeliver as redeliverEvents } from "../alerts/sql/redeliver.ts";
import { counted } from "../terminal.ts";
import { parseSince } from "./since.ts";
import { commandDeadlineMs, type DatabaseFlags, withDatabase } from "./with-database.ts";

/** Makes given-up events due again; a running service delivers them. */
export async function redeliver(
  options: DatabaseFlags & { since?: string | undefined; includeObserved: boolean; dryRun: boolean },
): Promise<void> {
  const { since, includeObserved, dryRun } = options;
  const sinceEpochSeconds = since === undefined ? null : parseSince(since);
  await withDatabase({ ...options, mayCreate: false }, async (db) => {
    const run = dryRun ? countRedeliverable : redeliverEvents;
    const bySeverity = await run(db, { sinceEpochSeconds, includeObserved, deadlineMs: commandDeadlineMs });
    const total = bySeverity.reduce((sum, { count }) => sum + count, 0);
    if (total === 0) {
      console.log("Nothing to redeliver.");
      return;
    }
    const parts = bySeverity.map(({ severity, count }) => `${count} ${severity}`).join(", ");
    console.log(
      dryRun
        ? `${counted(total, "event")} would be delivered again: ${parts}.`
        : `${counted(total, "event")} due again: ${parts}. A running certwatch with WEBHOOK_URL delivers them within seconds.`,
    );
  });
}
