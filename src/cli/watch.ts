import type { Command } from "commander";
import { isEmbedded, withEmbedded, withExamples } from "./options.ts";

interface Flags {
  embedded?: true;
  json?: true;
}

/** Adds the commands `watch add|list|remove|explain`. */
export function addWatchCommands(program: Command): void {
  const watch = program
    .command("watch")
    .description(
      "The watch list (public.intent_current): the domains whose certificates you want to know about.",
    );

  const add = watch
    .command("add <name...>")
    .description("Add domains to the watch list. Each covers every name below it.")
    .action(async (names: string[], flags: Flags) => {
      const { watchAdd } = await import("../commands/watch/entries.ts");
      process.exitCode = await watchAdd(names, isEmbedded(flags));
    });
  withExamples(
    withEmbedded(add),
    "certwatch watch add example.org example.com    # also covers www.example.org, a.b.example.org, ...",
  );

  const list = watch
    .command("list")
    .description("Show the watch list, and which of its rows cannot be used.")
    .option("--json", "Print one line of JSON for each row.")
    .action(async (flags: Flags) => {
      const { watchList } = await import("../commands/watch/entries.ts");
      await watchList({ ...isEmbedded(flags), json: flags.json === true });
    });
  withExamples(withEmbedded(list), "certwatch watch list");

  const remove = watch
    .command("remove <name...>")
    .description("Take domains off the watch list.")
    .action(async (names: string[], flags: Flags) => {
      const { watchRemove } = await import("../commands/watch/entries.ts");
      process.exitCode = await watchRemove(names, isEmbedded(flags));
    });
  withExamples(withEmbedded(remove), "certwatch watch remove example.org");

  const explain = watch
    .command("explain <name>")
    .description(
      "Say which entries of the watch list a name in a certificate matches, and why. Exit status 1: none.",
    )
    .option("--json", "Print one line of JSON.")
    .action(async (name: string, flags: Flags) => {
      const { watchExplain } = await import("../commands/watch/explain.ts");
      process.exitCode = await watchExplain(name, { ...isEmbedded(flags), json: flags.json === true });
    });
  withExamples(
    withEmbedded(explain),
    "certwatch watch explain www.example.org",
    "certwatch watch explain '*.example.org'",
  );
}
