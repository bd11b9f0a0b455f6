import { toJson } from "../db/json.ts";
import type { Queryable } from "../db/statement.ts";
import type { InventoryCertificate } from "./certificate-file.ts";

/**
 * Adds certificates to the inventory, in one statement. When a fingerprint is in it already, only a missing TBS hash or
 * serial number is filled in. It is safe to run this twice.
 *
 * @param rows may not contain a fingerprint twice.
 * @param options.hasTbsColumn whether the table has the column `tbs_sha256`.
 * @returns what happened, by fingerprint. Rows that were complete already are not in it.
 */
export async function upsertInventory(
  db: Queryable,
  rows: InventoryCertificate[],
  options: { source: string; hasTbsColumn: boolean; deadlineMs: number },
): Promise<Map<string, "added" | "updated">> {
  const [column, value, fill, missing] = options.hasTbsColumn
    ? [
        ", tbs_sha256",
        ", r.tbs_sha256",
        ", tbs_sha256 = COALESCE(certs.tbs_sha256, EXCLUDED.tbs_sha256)",
        " OR certs.tbs_sha256 IS NULL AND EXCLUDED.tbs_sha256 IS NOT NULL",
      ]
    : ["", "", "", ""];
  const changed = await db.query<{ fingerprint: string; isNew: boolean }>(
    {
      name: "add to the inventory",
      // xmax is 0 in a row that this statement inserted. In one that it updated, xmax is the current transaction.
      text: `
        INSERT INTO public.certs AS certs
               (fingerprint_sha1, serial, sans, not_before, not_after, source, added_at${column})
        SELECT r.fingerprint_sha1, r.serial, r.sans, r.not_before, r.not_after, $2::text,
               EXTRACT(EPOCH FROM pg_catalog.now())::bigint${value}
        FROM pg_catalog.json_to_recordset($1::json) AS r(fingerprint_sha1 text, serial text, sans jsonb, not_before bigint,
                                              not_after bigint, tbs_sha256 text)
        ON CONFLICT (fingerprint_sha1) DO UPDATE
          SET serial = COALESCE(certs.serial, EXCLUDED.serial)${fill}
          WHERE certs.serial IS NULL${missing}
        RETURNING certs.fingerprint_sha1 AS fingerprint, certs.xmax = 0 AS "isNew"`,
      values: [toJson(rows), options.source],
    },
    options.deadlineMs,
  );
  return new Map(changed.map(({ fingerprint, isNew }) => [fingerprint, isNew ? "added" : "updated"]));
}
