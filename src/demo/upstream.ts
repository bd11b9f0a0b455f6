import { createHash } from "node:crypto";
import type { Queryable } from "../db/pool.ts";
import type { Issuance } from "./certificates.ts";

const deadlineMs = 10_000;

/** Does what upstream systems do: puts names on the watch list. Those that are there stay. */
export async function watchNames(db: Queryable, names: string[]): Promise<void> {
  await db.execute(
    {
      name: "add to the watch list",
      text: `INSERT INTO public.intent_current (fqdn)
             SELECT name FROM unnest($1::text[]) AS name
             WHERE NOT EXISTS (SELECT FROM public.intent_current WHERE fqdn = name)`,
      values: [names],
    },
    deadlineMs,
  );
}

/** Does what upstream systems do: puts the final certificates of issuances into the inventory. */
export async function addToInventory(db: Queryable, issuances: Issuance[], source: string): Promise<void> {
  for (const { certificateDer, fields } of issuances) {
    await db.execute(
      {
        name: "add to the inventory",
        text: `INSERT INTO public.certs (fingerprint_sha1, serial, sans, not_before, not_after, source, added_at)
               VALUES ($1, $2, $3, $4, $5, $6, EXTRACT(EPOCH FROM now())::bigint) ON CONFLICT DO NOTHING`,
        values: [
          createHash("sha1").update(certificateDer).digest("hex"),
          fields.serialHex,
          JSON.stringify(fields.dnsNames),
          fields.notBeforeEpochSeconds,
          fields.notAfterEpochSeconds,
          source,
        ],
      },
      deadlineMs,
    );
  }
}
