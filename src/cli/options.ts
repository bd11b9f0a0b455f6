import type { Command } from "commander";

/**
 * Adds the flag `--embedded`. Without the flag, a command uses the database of POSTGRES_DSN.
 *
 * @param more the rest of the flag's help.
 */
export function withEmbedded(
  command: Command,
  more = " Works while the service runs, and while it does not.",
): Command {
  return command.option(
    "--embedded",
    `Use the embedded database in DATA_DIR (default ./certwatch-data), not the one of POSTGRES_DSN.${more}`,
  );
}

/** Returns the value of `--embedded` in the form that the commands take. */
export function isEmbedded(flags: { embedded?: true }): { embedded: boolean } {
  return { embedded: flags.embedded === true };
}

/** Appends examples, each a command line with a comment, to the help of a command. */
export function withExamples(command: Command, ...lines: string[]): Command {
  return command.addHelpText("after", `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}`);
}
