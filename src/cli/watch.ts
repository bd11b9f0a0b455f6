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
      "the watch list: the domains whose certificates you want to know of (public.intent_current)",
    );

  const add = watch
    .command("add <name...>")
    .description("watch domains; each covers every name below it")
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
    .description("show the watch list, and which rows of it cannot be used")
    .option("--json", "a line of JSON for each row")
    .action(async (flags: Flags) => {
      const { watchList } = await import("../commands/watch/entries.ts");
      await watchList({ ...isEmbedded(flags), json: flags.json === true });
    });
  withExamples(withEmbedded(list), "certwatch watch list");

  const remove = watch
    .command("remove <name...>")
    .description("watch domains no longer")
    .action(async (names: string[], flags: Flags) => {
      const { watchRemove } = await import("../commands/watch/entries.ts");
      process.exitCode = await watchRemove(names, isEmbedded(flags));
    });
  withExamples(withEmbedded(remove), "certwatch watch remove example.org");

  const explain = watch
    .command("explain <name>")
    .description(
      "say which entries a name in a certificate matches, and why; exit status 1 when it matches none",
    )
    .option("--json", "one line of JSON")
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
