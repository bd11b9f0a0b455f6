import { type InventoryRow, listInventory } from "../../inventory/list.ts";
import { type Column, formatTable, formatTime, jsonLine } from "../../terminal.ts";
import { normalName } from "../../watchlist/domain.ts";
import { commandDeadlineMs, type DatabaseFlags, withDatabase } from "../with-database.ts";

export interface ListOptions extends DatabaseFlags {
  json: boolean;
  name?: string | undefined;
  expired: boolean;
}

const pageSize = 5_000;

const columns: Column[] = [
  { title: "FINGERPRINT (SHA-1)" },
  { title: "VALID FROM" },
  { title: "VALID UNTIL (UTC)" },
  { title: "SOURCE", maxWidth: 26 },
  { title: "NAMES" },
];

/** Prints the inventory page by page. The certificate that expires first comes first. */
export async function inventoryList(options: ListOptions): Promise<void> {
  const names = options.name === undefined ? null : sansFor(options.name);
  let total = 0;
  await withDatabase({ ...options, mayCreate: false }, async (db) => {
    let after: InventoryRow | null = null;
    do {
      const { expired } = options;
      const page: InventoryRow[] = await listInventory(db, {
        names,
        expired,
        after,
        limit: pageSize,
        deadlineMs: commandDeadlineMs,
      });
      total += page.length;
      if (options.json) for (const row of page) console.log(jsonLine(row));
      else if (page.length > 0) console.log(formatTable(columns, page.map(toCells)));
      after = page.length < pageSize ? null : page.at(-1)!;
    } while (after !== null);
  });
  if (total === 0 && !options.json) {
    console.log(
      names === null && !options.expired
        ? 'The inventory is empty: add your certificates with "certwatch inventory add".'
        : "No such certificate.",
    );
  }
}

/** Returns the SANs that make a certificate valid for this name (RFC 6125 section 6.4.3: a wildcard is one label). */
function sansFor(name: string): string[] {
  const plain = normalName(name);
  return plain.startsWith("*.") ? [plain] : [plain, plain.replace(/^[^.]*/, "*")];
}

function toCells(row: InventoryRow): string[] {
  return [
    row.fingerprint_sha1,
    formatTime(row.not_before),
    formatTime(row.not_after) + (row.not_after * 1000 < Date.now() ? " expired" : ""),
    row.source ?? "",
    Array.isArray(row.sans) ? row.sans.join(", ") : JSON.stringify(row.sans),
  ];
}
