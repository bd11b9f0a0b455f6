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
    .description("The inventory (public.certs): the certificates that you ordered yourself.");

  const add = inventory
    .command("add <files...>")
    .description(
      "Add certificates to the inventory, from files (PEM, DER, bundles), from folders and all folders in them, or from standard input (-). CA certificates and private keys are left out. Certificates that are there already stay.",
    )
    .option("--source <text>", "Store this note with each certificate.", "certwatch inventory add")
    .option("--watch", "Keep running, and add certificates that appear or change, until SIGTERM or Ctrl-C.")
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
    .description("Show the inventory. The certificate that expires first comes first.")
    .option("--name <dns name>", "Show only certificates that are valid for this name.")
    .option("--expired", "Show only expired certificates.")
    .option("--json", "Print one line of JSON for each certificate.")
    .action(async (flags: Flags & { name?: string; expired?: true }) => {
      const { inventoryList } = await import("../commands/inventory/list.ts");
      const { name, expired = false, json = false } = flags;
      await inventoryList({ ...isEmbedded(flags), name, expired, json });
    });
  withExamples(withEmbedded(list), "certwatch inventory list --name www.example.org");

  const remove = inventory
    .command("remove <fingerprint...>")
    .description("Take certificates out of the inventory. Name them by their SHA-1 fingerprints.")
    .action(async (fingerprints: string[], flags: Flags) => {
      const { inventoryRemove } = await import("../commands/inventory/remove.ts");
      process.exitCode = await inventoryRemove(fingerprints, isEmbedded(flags));
    });
  withExamples(withEmbedded(remove), "certwatch inventory remove 9414f0d3a1b2c3d4e5f60718293a4b5c6d7e8f90");

  const fingerprint = inventory
    .command("fingerprint <files...>")
    .description(
      'Print what "inventory add" would store, one line of JSON for each certificate. Needs no database and no settings.',
    )
    .action(async (files: string[]) => {
      const { inventoryFingerprint } = await import("../commands/inventory/fingerprint.ts");
      process.exitCode = await inventoryFingerprint(files);
    });
  withExamples(fingerprint, "certwatch inventory fingerprint cert.pem | jq -r .tbs_sha256");
}
