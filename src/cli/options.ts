import type { Command } from "commander";

/** Adds the flag that chooses the database; without it, POSTGRES_DSN does. */
export function withEmbedded(command: Command): Command {
  return command.option(
    "--embedded",
    "use certwatch's own database in DATA_DIR (default ./certwatch-data) instead of POSTGRES_DSN; works while the service runs and while it does not",
  );
}

/** The flag's value as the commands want it. */
export function isEmbedded(flags: { embedded?: true }): { embedded: boolean } {
  return { embedded: flags.embedded === true };
}

/** Appends examples, each a command line with a comment, to the help of a command. */
export function withExamples(command: Command, ...lines: string[]): Command {
  return command.addHelpText("after", `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}`);
}
