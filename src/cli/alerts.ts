import { type Command, Option } from "commander";
import { isEmbedded, withEmbedded, withExamples } from "./options.ts";

const sinceHelp = "a time span before now (30m, 6h, 7d), or a date in UTC (2026-01-31, 2026-01-31T12:00:00Z)";

/** Adds the commands `alerts` and `redeliver`. */
export function addAlertCommands(program: Command): void {
  const alerts = program
    .command("alerts")
    .description("Show the alerts, newest first.")
    .addOption(
      new Option(
        "--severity <severity>",
        "Show only alerts of this severity. Those that are pending are still in their grace.",
      ).choices(["info", "suspicious", "pending"]),
    )
    .option("--since <time>", `Show only alerts that were recorded after this time: ${sinceHelp}`)
    .option("--limit <n>", "Show at most this many alerts.", "50")
    .option("--json", "Print one line of JSON for each alert, with all that the table has.")
    .action(
      async (flags: { embedded?: true; severity?: string; since?: string; limit: string; json?: true }) => {
        const { alerts } = await import("../commands/alerts.ts");
        const { severity, since, limit, json = false } = flags;
        await alerts({ ...isEmbedded(flags), severity, since, limit, json });
      },
    );
  withExamples(withEmbedded(alerts), "certwatch alerts --severity suspicious --since 7d");

  const redeliver = program
    .command("redeliver")
    .description("Make alerts due again that certwatch gave up. The running service then sends them.")
    .option(
      "--since <time>",
      `Only alerts that were given up (with --include-observed: or recorded) after this time: ${sinceHelp}`,
    )
    .option(
      "--include-observed",
      "Also alerts that were recorded in observer mode, that is, without WEBHOOK_URL.",
    )
    .option("--dry-run", "Change nothing; only say how many alerts these are.")
    .action(async (flags: { embedded?: true; since?: string; includeObserved?: true; dryRun?: true }) => {
      const { redeliver } = await import("../commands/redeliver.ts");
      const { since, includeObserved = false, dryRun = false } = flags;
      await redeliver({ ...isEmbedded(flags), since, includeObserved, dryRun });
    });
  withExamples(
    withEmbedded(redeliver),
    "certwatch redeliver --since 6h --dry-run",
    "certwatch redeliver --since 6h",
  );
}
