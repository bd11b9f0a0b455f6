import { parseDsn } from "../../src/db/dsn.ts";
import { type Database, openPool } from "../../src/db/pool.ts";
import { createAuthority, type IssueRequest } from "../../src/demo/certificates.ts";
import { type CertstreamSimulator, startCertstreamSimulator } from "../../src/demo/certstream.ts";
import type { CtLog, LogEntry } from "../../src/demo/log-entry.ts";
import { startWebhookReceiver, type WebhookReceiver } from "../../src/demo/receiver.ts";
import { wireMessage } from "../../src/demo/wire.ts";
import { addWatchEntries } from "../../src/watchlist/edit.ts";
import { openPglite } from "../support/embedded.ts";
import { type DatabaseSource, NO_POSTGRES_OR_DSN, openPostgres } from "../support/postgres.ts";
import { endPrograms, type Program, spawnProgram } from "../support/program.ts";
import { secrets, secretWebhookUrl, withSecrets } from "../support/secrets.ts";

/** What every test bed watches. */
export const watched = "watched.example";

const log: CtLog = { name: "Test log", url: "https://log.example/2026", type: "rfc6962" };
const authority = createAuthority({ commonName: "Test CA", organization: "Test", country: "XX" });
let index = 0;

/** A final certificate for these names, in a log. */
export function entryOf(request: IssueRequest, kind: LogEntry["kind"] = "X509LogEntry"): LogEntry {
  index += 1;
  return { issuance: authority.issue(request), log, kind, index };
}

/** A message for these names whose leaf, and the rest of `data`, the test has changed. */
export function messageOf(
  dnsNames: string[],
  change: (leaf: Record<string, unknown>, data: Record<string, unknown>) => void,
): string {
  const message = JSON.parse(wireMessage(entryOf({ dnsNames }), { feed: "lite" }));
  change(message.data.leaf_cert, message.data);
  return JSON.stringify(message);
}

/** Everything around a `certwatch` process. */
export interface Bed {
  simulator: CertstreamSimulator;
  receiver: WebhookReceiver;
  dsn: string;
  db: Database;
  /** The environment of `certwatch run`: this feed, database and receiver, secrets wherever one can stand. */
  env: NodeJS.ProcessEnv;
  /** Starts `certwatch run`; resolves when it is connected to its feeds. */
  start(env?: NodeJS.ProcessEnv): Promise<Program>;
  close(): Promise<void>;
}

/** A database where there is one, real Postgres if possible. */
export const openAnyDatabase = (): Promise<DatabaseSource> =>
  NO_POSTGRES_OR_DSN === undefined ? openPostgres() : openPglite();

export async function openBed(dsn: string): Promise<Bed> {
  const simulator = await startCertstreamSimulator();
  const receiver = await startWebhookReceiver();
  const db = openPool(parseDsn(dsn));
  await addWatchEntries(db, [watched], 10_000);
  const env: NodeJS.ProcessEnv = {
    POSTGRES_DSN: withSecrets(dsn, secrets.dsnPassword),
    CERTSTREAM_URL: withSecrets(simulator.url, secrets.feedPassword, secrets.feedToken),
    WEBHOOK_URL: secretWebhookUrl(receiver.url),
    WEBHOOK_SECRET: secrets.webhookSecret,
    WEBHOOK_AUTHORIZATION: secrets.authorization,
    API_PORT: "0",
    SUSPICIOUS_GRACE_S: "0.2",
  };
  return {
    simulator,
    receiver,
    dsn,
    db,
    env,
    async start(more = {}) {
      const program = spawnProgram(["run"], { ...env, ...more });
      await program.waitForLog("certwatch is watching");
      await program.waitForLog("connected to the feed");
      return program;
    },
    async close() {
      await endPrograms();
      await simulator.close();
      await receiver.close();
      await db.end();
    },
  };
}

/** A bed on a database of its own; its `close` also closes the server that `open` opened. */
export async function openBedOn(open: () => Promise<DatabaseSource>): Promise<Bed> {
  const source = await open();
  const bed = await openBed(await source.createDatabase());
  const close = async () => {
    await bed.close();
    await source.close();
  };
  return { ...bed, close };
}

/** Whether a delivery is about this name. */
export const isFor =
  (name: string) =>
  ({ json }: { json: unknown }): boolean =>
    (json as { matched_sans: string[] }).matched_sans.includes(name);
