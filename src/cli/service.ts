import type { Command } from "commander";
import { isEmbedded, withEmbedded, withExamples } from "./options.ts";

/** Adds the commands `run`, `migrate` and `demo`. */
export function addServiceCommands(program: Command): void {
  const run = program
    .command("run")
    .description(
      "Run the service: read the feeds, record and judge certificates, deliver alerts, until SIGTERM or Ctrl-C.",
    )
    .action(async (flags: { embedded?: true }) => {
      const { run } = await import("../commands/run.ts");
      process.exitCode = await run(isEmbedded(flags));
    });
  withExamples(
    withEmbedded(run, " It needs no Postgres server."),
    "certwatch run --embedded                                   # try it, without a Postgres",
    "POSTGRES_DSN=postgresql://user:password@host/db certwatch run",
  );

  const migrate = program
    .command("migrate")
    .description("Create the tables, or bring them to this version. You can repeat it.")
    .option(
      "--inventory",
      "Only add the column tbs_sha256 and two indexes to an existing table public.certs: with them, certwatch recognises precertificates exactly and fast. Others can write to the table meanwhile.",
    )
    .action(async (flags: { embedded?: true; inventory?: true }) => {
      const { migrate } = await import("../commands/migrate.ts");
      await migrate({ ...isEmbedded(flags), inventory: flags.inventory === true });
    });
  withExamples(
    withEmbedded(migrate),
    "certwatch migrate                # certwatch's tables, as schema.sql has them",
    "certwatch migrate --inventory    # once, for a public.certs that was there before certwatch",
  );

  program
    .command("demo")
    .description(
      "Play a short story: a simulated feed, certwatch, a database and a webhook receiver, nothing of yours.",
    )
    .option("--keep", "At the end, leave everything running until Ctrl-C.")
    .action(async (flags: { keep?: true }) => {
      const { demo } = await import("../commands/demo.ts");
      process.exitCode = await demo({ keep: flags.keep === true });
    });
}
