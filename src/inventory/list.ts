import type { Queryable } from "../db/statement.ts";

/** A row of `public.certs`. Upstream wrote it, so any value may be null or have another shape. */
export interface InventoryRow {
  fingerprint_sha1: string;
  serial: string | null;
  sans: unknown;
  not_before: number;
  not_after: number;
  source: string | null;
  added_at: number | null;
}

/** The last row of a page. The next page begins after it. */
type Position = Pick<InventoryRow, "not_after" | "fingerprint_sha1">;

/**
 * Reads one page of the inventory. The certificate that expires first comes first.
 *
 * @param options.names SANs in lower case, one of which a row must have; `null`: any row.
 * @param options.expired true: only certificates that have expired.
 */
export async function listInventory(
  db: Queryable,
  options: {
    names: string[] | null;
    expired: boolean;
    after: Position | null;
    limit: number;
    deadlineMs: number;
  },
): Promise<InventoryRow[]> {
  const { names, expired, after, limit, deadlineMs } = options;
  return await db.query<InventoryRow>(
    {
      name: "list the inventory",
      text: `
        SELECT fingerprint_sha1, serial, sans, not_before, not_after, source, added_at FROM public.certs
        WHERE ($1::text[] IS NULL OR EXISTS (
                SELECT FROM pg_catalog.jsonb_array_elements_text(CASE pg_catalog.jsonb_typeof(pg_catalog.to_jsonb(sans)) WHEN 'array' THEN pg_catalog.to_jsonb(sans) ELSE '[]' END) AS san
                WHERE pg_catalog.rtrim(pg_catalog.lower(san), '.') = ANY ($1::text[])))
          AND (NOT $2::boolean OR not_after OPERATOR(pg_catalog.<) EXTRACT(EPOCH FROM pg_catalog.now())::bigint)
          AND ($3::bigint IS NULL OR (not_after, fingerprint_sha1) OPERATOR(pg_catalog.>) ($3::bigint, $4::text))
        ORDER BY not_after, fingerprint_sha1 LIMIT $5`,
      values: [names, expired, after?.not_after ?? null, after?.fingerprint_sha1 ?? null, limit],
    },
    deadlineMs,
  );
}
