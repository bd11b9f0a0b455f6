import type { Command } from "commander";

/** Adds the flag `--embedded`. Without the flag, a command uses the database of POSTGRES_DSN. */
export function withEmbedded(command: Command): Command {
  return command.option(
    "--embedded",
    "use certwatch's own database in DATA_DIR (default ./certwatch-data) instead of POSTGRES_DSN; works while the service runs and while it does not",
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
