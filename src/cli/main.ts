import { Command, CommanderError } from "commander";
import { version } from "../version.ts";
import { addAlertCommands } from "./alerts.ts";
import { addInventoryCommands } from "./inventory.ts";
import { addServiceCommands } from "./service.ts";
import { addWatchCommands } from "./watch.ts";

/** Exit statuses: 0 done; 1 failed, or not all that was asked for could be done; 2 usage, configuration; 3 database. */
const exitStatusOf: Record<string, number> = {
  RefusedError: 1,
  ConfigError: 2,
  DsnError: 2,
  UsageError: 2,
  ListenError: 2,
  DatabaseUnusableError: 3,
  EmbeddedError: 3,
};

/** Who reads the output may stop reading: `certwatch alerts | head`. */
function exitWhenNobodyReads(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit();
  });
}

const program = new Command("certwatch")
  .description("Watches Certificate Transparency for certificates issued for your own domains.")
  .version(version)
  .showHelpAfterError("(add --help for how to use it)")
  .exitOverride()
  .configureOutput({
    writeOut(text) {
      exitWhenNobodyReads();
      process.stdout.write(text);
    },
  })
  .hook("preAction", (_, command) => {
    // The service's log writes to the descriptor, which Node.js makes non-blocking as soon as `process.stdout` is looked
    // at: whenever the pipe is full, the log would then wait for 100 ms.
    if (command.name() !== "run") exitWhenNobodyReads();
  });
addServiceCommands(program);
addWatchCommands(program);
addInventoryCommands(program);
addAlertCommands(program);

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // Help and version are no errors; everything else is a mistake in the command line.
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    const { name, message } = error instanceof Error ? error : { name: "", message: "" };
    const expected = exitStatusOf[name];
    const subject = name === "DsnError" ? "POSTGRES_DSN " : "";
    console.error(expected === undefined ? error : `certwatch: ${subject}${message}`);
    process.exitCode = expected ?? 1;
  }
}
