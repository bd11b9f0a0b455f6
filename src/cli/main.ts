import { Command, CommanderError } from "commander";
import { version } from "../version.ts";
import { addAlertCommands } from "./alerts.ts";
import { addInventoryCommands } from "./inventory.ts";
import { addServiceCommands } from "./service.ts";
import { addWatchCommands } from "./watch.ts";

/** Exit statuses. 0: all done. 1: failed, or only partly done. 2: bad usage or configuration. 3: database unusable. */
const exitStatusOf: Record<string, number> = {
  RefusedError: 1,
  ConfigError: 2,
  DsnError: 2,
  UsageError: 2,
  ListenError: 2,
  DatabaseUnusableError: 3,
  EmbeddedError: 3,
};

/** Ends the process if the reader of its output stops reading, as in `certwatch alerts | head`. */
function exitWhenNobodyReads(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit();
  });
}

const program = new Command("certwatch")
  .description("Watches Certificate Transparency for certificates issued for your own domains.")
  .version(version)
  .showHelpAfterError("(--help shows how to use it)")
  .exitOverride()
  .configureOutput({
    writeOut(text) {
      exitWhenNobodyReads();
      process.stdout.write(text);
    },
  })
  .hook("preAction", (_, command) => {
    // The log of the service writes to the descriptor of standard output. Any access to `process.stdout` makes Node.js
    // set this descriptor to non-blocking, and then the log would wait for 100 ms whenever the pipe is full.
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
    // Commander throws this also after printing the help or the version, which is no error.
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    const { name, message } = error instanceof Error ? error : { name: "", message: "" };
    const expected = exitStatusOf[name];
    const subject = name === "DsnError" ? "POSTGRES_DSN " : "";
    console.error(expected === undefined ? error : `certwatch: ${subject}${message}`);
    process.exitCode = expected ?? 1;
  }
}
