import type { Command } from "commander";
import { isEmbedded, withEmbedded, withExamples } from "./options.ts";

interface Flags {
  embedded?: true;
  json?: true;
}

/** Adds the commands `inventory add|list|remove|fingerprint`. */
export function addInventoryCommands(program: Command): void {
  const inventory = program
    .command("inventory")
    .description("the inventory: the certificates that you had issued yourself (public.certs)");

  const add = inventory
    .command("add <files...>")
    .description(
      "add certificates: files (PEM, DER, bundles), folders with everything in them, or - for standard input. CA certificates are skipped, keys are passed over, what is there already stays",
    )
    .option("--source <text>", "noted with each certificate", "certwatch inventory add")
    .option("--watch", "stay, and add what appears or changes, until SIGTERM or Ctrl-C")
    .action(async (files: string[], flags: Flags & { source: string; watch?: true }) => {
      const options = { ...isEmbedded(flags), source: flags.source };
      if (flags.watch === true) {
        const { untilStopped } = await import("../commands/until-stopped.ts");
        const { inventoryFollow } = await import("../commands/inventory/follow.ts");
        process.exitCode = await inventoryFollow(files, { ...options, signal: untilStopped() });
      } else {
        const { inventoryAdd } = await import("../commands/inventory/add.ts");
        process.exitCode = await inventoryAdd(files, options);
      }
    });
  withExamples(
    withEmbedded(add),
    "certwatch inventory add cert.pem",
    "certwatch inventory add --watch /etc/letsencrypt/live     # certbot's; lego's and Caddy's folders likewise",
    "openssl s_client -connect example.org:443 </dev/null | certwatch inventory add -",
  );

  const list = inventory
    .command("list")
    .description("show the inventory, the first to expire first")
    .option("--name <dns name>", "only certificates that are valid for this name")
    .option("--expired", "only expired ones")
    .option("--json", "a line of JSON for each certificate")
    .action(async (flags: Flags & { name?: string; expired?: true }) => {
      const { inventoryList } = await import("../commands/inventory/list.ts");
      const { name, expired = false, json = false } = flags;
      await inventoryList({ ...isEmbedded(flags), name, expired, json });
    });
  withExamples(withEmbedded(list), "certwatch inventory list --name www.example.org");

  const remove = inventory
    .command("remove <fingerprint...>")
    .description("take certificates out of the inventory, by their SHA-1 fingerprint")
    .action(async (fingerprints: string[], flags: Flags) => {
      const { inventoryRemove } = await import("../commands/inventory/remove.ts");
      process.exitCode = await inventoryRemove(fingerprints, isEmbedded(flags));
    });
  withExamples(withEmbedded(remove), "certwatch inventory remove 9414f0d3a1b2c3d4e5f60718293a4b5c6d7e8f90");

  const fingerprint = inventory
    .command("fingerprint <files...>")
    .description(
      "print what add would store, a line of JSON for each certificate; needs no database and no configuration",
    )
    .action(async (files: string[]) => {
      const { inventoryFingerprint } = await import("../commands/inventory/fingerprint.ts");
      process.exitCode = await inventoryFingerprint(files);
    });
  withExamples(fingerprint, "certwatch inventory fingerprint cert.pem | jq -r .tbs_sha256");
}
