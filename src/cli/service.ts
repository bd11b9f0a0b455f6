import type { Command } from "commander";
import { isEmbedded, withEmbedded, withExamples } from "./options.ts";

/** Adds the commands `run`, `migrate` and `demo`. */
export function addServiceCommands(program: Command): void {
  const run = program
    .command("run")
    .description("watch: read the feeds, record, judge and deliver alerts, until SIGTERM")
    .action(async (flags: { embedded?: true }) => {
      const { run } = await import("../commands/run.ts");
      process.exitCode = await run(isEmbedded(flags));
    });
  withExamples(
    withEmbedded(run),
    "certwatch run --embedded                                   # try it, without a Postgres",
    "POSTGRES_DSN=postgresql://user:password@host/db certwatch run",
  );

  const migrate = program
    .command("migrate")
    .description("create or update the tables; can be repeated")
    .option(
      "--inventory",
      "only add to an existing table public.certs what finds precertificates fast: the column tbs_sha256 and two indexes, built without stopping writes",
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
    .description("play a short story on a simulated feed, with a database and a receiver of its own")
    .option("--keep", "leave everything running at the end")
    .action(async (flags: { keep?: true }) => {
      const { demo } = await import("../commands/demo.ts");
      process.exitCode = await demo({ keep: flags.keep === true });
    });
}
