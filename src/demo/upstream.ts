import { createHash } from "node:crypto";
import type { Queryable } from "../db/statement.ts";
import { upsertInventory } from "../inventory/upsert.ts";
import type { Issuance } from "./certificates.ts";

/** Adds the final certificates of issuances to the inventory, without TBS hashes, as upstream systems do. */
export async function addToInventory(db: Queryable, issuances: Issuance[], source: string): Promise<void> {
  const rows = issuances.map(({ certificateDer, fields }) => ({
    fingerprint_sha1: createHash("sha1").update(certificateDer).digest("hex"),
    serial: fields.serialHex,
    sans: fields.dnsNames,
    not_before: fields.notBeforeEpochSeconds,
    not_after: fields.notAfterEpochSeconds,
    tbs_sha256: null,
  }));
  await upsertInventory(db, rows, { source, hasTbsColumn: false, deadlineMs: 10_000 });
}
