import { findInventoryByFingerprint } from "../db/find-inventory.ts";
import type { Database } from "../db/pool.ts";

/** How a certificate was recognised as one's own, strongest first; `none`: it was not. */
export type MatchBasis = "fingerprint" | "none";

/** What the inventory match needs to know of a certificate. */
export interface InventoryQuery {
  id: number;
  /** SHA-1, 40 lower-case hex digits, or empty where the feed sent none. */
  fingerprint: string;
}

/**
 * Looks certificates up in the inventory, all in one go.
 *
 * @returns the basis for each `id`; `none` where nothing matches.
 */
export async function matchInventory(
  db: Database,
  certificates: InventoryQuery[],
  deadlineMs: number,
): Promise<Map<number, MatchBasis>> {
  const fingerprints = certificates.map((certificate) => certificate.fingerprint).filter((hex) => hex !== "");
  const known = await findInventoryByFingerprint(db, [...new Set(fingerprints)], deadlineMs);
  return new Map(
    certificates.map(({ id, fingerprint }) => [id, known.has(fingerprint) ? "fingerprint" : "none"] as const),
  );
}
