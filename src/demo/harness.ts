import { setTimeout as sleep } from "node:timers/promises";
import { parseDsn } from "../db/dsn.ts";
import { openPool } from "../db/pool.ts";
import { addWatchEntries } from "../watchlist/edit.ts";
import { createAuthority } from "./certificates.ts";
import { startCertstreamSimulator } from "./certstream.ts";
import type { CtLog } from "./log-entry.ts";
import { startWebhookReceiver } from "./receiver.ts";
import { addToInventory } from "./upstream.ts";

// The smoke harness: a certstream feed and a webhook receiver for a certwatch that runs beside it. The harness also
// fills the watch list and inventory in POSTGRES_DSN, as upstream systems do. Start: `npm run harness`; end: Ctrl-C.

const watched = "harness.example.org";
const log: CtLog = { name: "Harness log", url: "https://log.example.net/2026", type: "rfc6962" };

const dsn = process.env.POSTGRES_DSN;
if (dsn === undefined || dsn === "") {
  console.error(
    "harness: POSTGRES_DSN is not set: give the database that certwatch uses, to fill its watch list and inventory",
  );
  process.exit(2);
}
const authority = createAuthority({ commonName: "Harness CA", organization: "Harness", country: "XX" });
const known = authority.issue({ dnsNames: [`known.${watched}`] });
const unauthorized = authority.issue({ dnsNames: [`unauthorized.${watched}`] });
const unwatched = authority.issue({ dnsNames: ["unwatched.example.net"] });

const db = openPool(parseDsn(dsn), { maxConnections: 1 });
await addWatchEntries(db, [watched], 10_000);
await addToInventory(db, [known], "harness");
await db.end();
console.log(`watch list: ${watched} is on it; inventory: known.${watched} is in it`);

const receiver = await startWebhookReceiver({
  port: Number(process.env.HOOK_PORT || 19_091),
  onDelivery: ({ body }) => console.log(`WEBHOOK RX: ${body}`),
});
const feed = await startCertstreamSimulator({ port: Number(process.env.CT_PORT || 19_090) });
console.log(`certstream feed: CERTSTREAM_URL=${feed.url}`);
console.log(`webhook receiver: WEBHOOK_URL=${receiver.url}`);
console.log("waiting for certwatch to connect ...");

for (let clients = 1; ; clients += 1) {
  await feed.waitForClient(clients);
  // After a reconnect the same certificates are sent again: certwatch stays silent about them.
  await sleep(500);
  await feed.publish(
    ...[known, unauthorized, unwatched].map((issuance, index) => ({
      issuance,
      log,
      kind: "X509LogEntry" as const,
      index,
    })),
  );
  console.log(`sent: known.${watched}, unauthorized.${watched}, unwatched.example.net`);
}
