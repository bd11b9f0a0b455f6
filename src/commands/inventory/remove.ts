import { removeInventory } from "../../inventory/remove.ts";
import { printable } from "../../terminal.ts";
import { UsageError } from "../errors.ts";
import { commandDeadlineMs, type DatabaseFlags, upstreamTable, withDatabase } from "../with-database.ts";

/**
 * Removes certificates from the inventory.
 *
 * @param fingerprints SHA-1 fingerprints in upper or lower case, with or without colons.
 * @returns the exit status: 1 if a fingerprint was not in the inventory.
 */
export async function inventoryRemove(fingerprints: string[], options: DatabaseFlags): Promise<number> {
  const wanted = fingerprints.map((text) => {
    const hex = text.replaceAll(":", "").toLowerCase();
    if (/^[0-9a-f]{40}$/.test(hex)) return hex;
    throw new UsageError(
      `${printable(JSON.stringify(text))} is no SHA-1 fingerprint (40 hexadecimal digits): "certwatch inventory list" shows them`,
    );
  });
  return await withDatabase({ ...options, mayCreate: false }, async (db) => {
    await upstreamTable(db, "public.certs", ["fingerprint_sha1"]);
    const removed = await removeInventory(db, wanted, commandDeadlineMs);
    for (const fingerprint of new Set(wanted)) {
      if (removed.has(fingerprint)) console.log(`removed ${fingerprint}`);
      else console.error(`not in the inventory: ${fingerprint}`);
    }
    return removed.size < new Set(wanted).size ? 1 : 0;
  });
}
