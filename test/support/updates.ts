import { createHash } from "node:crypto";
import type { Queryable } from "../../src/db/statement.ts";
import { createAuthority, type Issuance } from "../../src/demo/certificates.ts";
import type { CtLog, LogEntry } from "../../src/demo/log-entry.ts";
import { type CertstreamServer, type Feed, wireMessage } from "../../src/demo/wire.ts";
import { type CertUpdate, parseMessage } from "../../src/feed/message.ts";
import { tbsSha256 } from "../../src/issuance/tbs.ts";
import type { Match } from "../../src/watchlist/matcher.ts";
import { byHand } from "./by-hand.ts";

export const ours = createAuthority({ commonName: "E7", organization: "Let's Encrypt", country: "US" });
export const theirs = createAuthority({ commonName: "Obliging CA R1", organization: "Obliging CA Ltd" });

const rfc6962Log = (name: string): CtLog => ({ name, url: `https://${name}.invalid`, type: "rfc6962" });
export const argon = rfc6962Log("argon");
export const oak = rfc6962Log("oak");
export const nimbus = rfc6962Log("nimbus");
/** Static-ct: its precertificates come without fingerprint and DER. */
export const willow: CtLog = { name: "willow", url: "https://willow.invalid", type: "tiled" };

/** Another certificate, with another key, with the issuer name, serial number, validity and names of this one. */
export function copyOf({ fields }: Issuance, authority = ours): Issuance {
  return authority.issue({
    dnsNames: fields.dnsNames,
    serial: Buffer.from(fields.serialHex, "hex"),
    notBeforeEpochSeconds: fields.notBeforeEpochSeconds,
    notAfterEpochSeconds: fields.notAfterEpochSeconds,
  });
}

interface Origin {
  log?: CtLog;
  feed?: Feed;
  server?: CertstreamServer;
}

/** What the service makes of the message that a certstream server sends for this log entry. */
function updateOf(
  issuance: Issuance,
  kind: LogEntry["kind"],
  { log = argon, feed = "full", server = "go" }: Origin,
): CertUpdate {
  const message = wireMessage({ issuance, kind, log, index: 1_000_000 }, { feed, server });
  const parsed = parseMessage(Buffer.from(message));
  if (parsed.type !== "certificate_update") throw new Error(`not an update: ${message}`);
  return parsed.update;
}

export const precertificate = (issuance: Issuance, origin: Origin = {}): CertUpdate =>
  updateOf(issuance, "PrecertLogEntry", origin);
export const final = (issuance: Issuance, origin: Origin = {}): CertUpdate =>
  updateOf(issuance, "X509LogEntry", origin);

/** What matching says of it with `example.org` on the watch list. */
export const matchOf = (update: CertUpdate): Match => ({
  entries: ["example.org"],
  // A CN that is no host name, as servers append it, is never watched.
  sans: [...new Set(update.allDomains.filter((name) => !name.includes(" ")))].sort(),
  namesTruncated: 0,
});

/** What matching says of these names with `example.org` on the watch list. */
export function matchOfNames(names: string[]): Match | null {
  const sans = [...new Set(names.filter((name) => /(^|\.)example\.org$/.test(name)))].sort();
  return sans.length === 0 ? null : { entries: ["example.org"], sans, namesTruncated: 0 };
}

export const sha1Of = (der: Uint8Array): string => createHash("sha1").update(der).digest("hex");

/** A row of `public.certs`. */
export interface InventoryRow {
  fingerprint_sha1: string;
  serial: string | null;
  sans: unknown;
  not_before: number;
  not_after: number;
  tbs_sha256?: string | null;
}

/** The final certificate of an issuance, as an upstream system writes it; without TBS hash unless asked for. */
export function inventoryRow({ certificateDer, fields }: Issuance, { tbs = false } = {}): InventoryRow {
  return {
    fingerprint_sha1: sha1Of(certificateDer),
    serial: fields.serialHex,
    sans: fields.dnsNames,
    not_before: fields.notBeforeEpochSeconds,
    not_after: fields.notAfterEpochSeconds,
    ...(tbs ? { tbs_sha256: tbsSha256(certificateDer) } : {}),
  };
}

/** Does what upstream systems do. */
export async function insertInventory(db: Queryable, ...rows: InventoryRow[]): Promise<void> {
  for (const row of rows) {
    const columns = Object.keys(row);
    const values = columns.map((name) =>
      name === "sans" ? JSON.stringify(row.sans) : row[name as "serial"],
    );
    const places = values.map((_, i) => `$${i + 1}`);
    await db.execute(
      {
        name: byHand,
        text: `INSERT INTO public.certs (${columns.join(", ")}, added_at) VALUES (${places.join(", ")}, 1760000000)`,
        values,
      },
      10_000,
    );
  }
}
