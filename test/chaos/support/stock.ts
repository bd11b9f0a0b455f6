import { createHash } from "node:crypto";
import type { Queryable } from "../../../src/db/statement.ts";
import { createAuthority, type Issuance } from "../../../src/demo/certificates.ts";
import { type CtLog, type LogEntry, loggedCertificate } from "../../../src/demo/log-entry.ts";
import { addToInventory } from "../../../src/demo/upstream.ts";
import { wireMessage } from "../../../src/demo/wire.ts";
import type { Random } from "./seed.ts";

/** What every bed watches. */
export const watched = "watched.example";

const authority = createAuthority({ commonName: "Chaos CA", organization: "Chaos", country: "XX" });
const logs: CtLog[] = ["oak", "argon"].map((name) => ({
  name: `'${name}' log`,
  url: `https://${name}.example/2026`,
  type: "rfc6962",
}));
const nextIndex = new Map<CtLog, number>();

/** One act of issuing for a watched name: it has to become one event. */
export interface Item {
  /** Its only DNS name; the key of the ledger. */
  name: string;
  issuance: Issuance;
  /** In the inventory: `info`, else `suspicious`. */
  isKnown: boolean;
  /** What is sent of it, in this order. */
  kinds: readonly LogEntry["kind"][];
}

/** An entry for the next place in one of the logs. */
export function entryOf({ issuance }: Pick<Item, "issuance">, kind: LogEntry["kind"], log = 0): LogEntry {
  const ctLog = logs[log]!;
  const index = nextIndex.get(ctLog) ?? 0;
  nextIndex.set(ctLog, index + 1);
  return { issuance, kind, log: ctLog, index };
}

/** The `certificate_key` in `alerts` of one of the item's certificates. */
export function certificateKeyOf(item: Item, kind: LogEntry["kind"]): string {
  const { der } = loggedCertificate({ issuance: item.issuance, kind, log: logs[0]!, index: 0 });
  return `der:${createHash("sha256").update(der).digest("hex")}`;
}

const kindsToSend: LogEntry["kind"][][] = [
  ["X509LogEntry"],
  ["PrecertLogEntry"],
  ["PrecertLogEntry", "X509LogEntry"],
  ["X509LogEntry", "PrecertLogEntry"],
];

let itemNumber = 0;

/** Issues for new names. The known ones are entered in the inventory, so the database has to be there. */
export async function issueItems(
  db: Queryable,
  random: Random,
  count: number,
  { knownShare = 0.4, kinds }: { knownShare?: number; kinds?: LogEntry["kind"][] } = {},
): Promise<Item[]> {
  const items = Array.from({ length: count }, (): Item => {
    itemNumber += 1;
    const name = `n${itemNumber}.${watched}`;
    return {
      name,
      issuance: authority.issue({ dnsNames: [name] }),
      isKnown: random.chance(knownShare),
      kinds: kinds ?? random.pick(kindsToSend),
    };
  });
  await addToInventory(
    db,
    items.filter(({ isKnown }) => isKnown).map(({ issuance }) => issuance),
    "chaos",
  );
  return items;
}

/** Messages about names that nobody watches, as the full feed has them. */
export function noiseMessages(count: number): Buffer[] {
  return Array.from({ length: count }, (_, i) => {
    const issuance = authority.issue({
      dnsNames: [`www.n${i}.unwatched.example`, `n${i}.unwatched.example`],
    });
    return Buffer.from(wireMessage(entryOf({ issuance }, i % 2 === 0 ? "PrecertLogEntry" : "X509LogEntry")));
  });
}
