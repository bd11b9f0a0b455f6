#!/usr/bin/env node
import { Command, CommanderError } from "commander";
import { version } from "./version.ts";

/** Exit statuses: 0 clean stop; 1 internal failure; 2 bad configuration or usage; 3 database unusable. */
const exitStatusOf: Record<string, number> = {
  ConfigError: 2,
  UsageError: 2,
  ListenError: 2,
  DatabaseUnusableError: 3,
  EmbeddedError: 3,
};

const program = new Command("certwatch")
  .description("Watches Certificate Transparency for certificates issued for your own domains.")
  .version(version)
  .showHelpAfterError("(certwatch --help lists the commands)")
  .exitOverride();

const embedded = [
  "--embedded",
  "use a database of certwatch's own, in DATA_DIR, instead of POSTGRES_DSN",
] as const;

program
  .command("run")
  .description("watch: read the feeds, record, judge and deliver alerts, until SIGTERM")
  .option(...embedded)
  .action(async (options: { embedded?: true }) => {
    const { run } = await import("./commands/run.ts");
    process.exitCode = await run({ embedded: options.embedded === true });
  });

program
  .command("migrate")
  .description("create or update the tables; can be repeated")
  .option(...embedded)
  .action(async (options: { embedded?: true }) => {
    const { migrate } = await import("./commands/migrate.ts");
    await migrate({ embedded: options.embedded === true });
  });

program
  .command("demo")
  .description("play a short story on a simulated feed, with a database and a receiver of its own")
  .option("--keep", "leave everything running at the end")
  .action(async (options: { keep?: true }) => {
    const { demo } = await import("./commands/demo.ts");
    process.exitCode = await demo({ keep: options.keep === true });
  });

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // Help and version are no errors; everything else is a mistake in the command line.
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    const expected = error instanceof Error ? exitStatusOf[error.name] : undefined;
    console.error(expected === undefined ? error : `certwatch: ${(error as Error).message}`);
    process.exitCode = expected ?? 1;
  }
}
