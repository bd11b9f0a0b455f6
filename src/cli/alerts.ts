import { type Command, Option } from "commander";
import { isEmbedded, withEmbedded, withExamples } from "./options.ts";

const sinceHelp = "30m, 6h, 7d, or a date as 2026-01-31 or 2026-01-31T12:00:00Z";

/** Adds the commands `alerts` and `redeliver`. */
export function addAlertCommands(program: Command): void {
  const alerts = program
    .command("alerts")
    .description("show the alerts, newest first")
    .addOption(new Option("--severity <severity>", "only these").choices(["info", "suspicious", "pending"]))
    .option("--since <time>", `only those recorded since then: ${sinceHelp}`)
    .option("--limit <n>", "at most so many", "50")
    .option("--json", "a line of JSON for each alert, with everything")
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
    .description("have given-up alerts delivered again by the running service")
    .option(
      "--since <time>",
      `only those given up (with --include-observed: or recorded) since then: ${sinceHelp}`,
    )
    .option("--include-observed", "also those that were recorded in observer mode, without WEBHOOK_URL")
    .option("--dry-run", "only say how many there are")
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
