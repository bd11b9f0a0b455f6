import { createHash } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseDsn } from "../../src/db/dsn.ts";
import { type Database, openPool } from "../../src/db/pool.ts";
import { type CertstreamSimulator, startCertstreamSimulator } from "../../src/demo/certstream.ts";
import { watchNames } from "../../src/demo/upstream.ts";
import { type Cluster, NO_POSTGRES, startCluster } from "../support/postgres.ts";
import { endPrograms, spawnProgram } from "../support/program.ts";
import { describeIfAvailable } from "../support/skip.ts";
import { accepting, ChaosReceiver, misbehaviours } from "./receiver-behaviours.ts";
import { keepSending, mebibytes, watchOver } from "./receiver-memory.ts";
import { randomOf, shortOrLong } from "./support/seed.ts";
import { noiseMessages } from "./support/stock.ts";

const waiting = 10_000;
/** "Within seconds", on a machine that compiles something else at the same time. */
const maxLatencyMs = 15_000;
const maxStillMs = 10_000;
const maxGrowthBytes = 200 * 2 ** 20;

const fingerprintOf = (name: string) => createHash("sha1").update(name).digest("hex");

/** The least that a lite feed says of a certificate. */
const messageOf = (name: string) =>
  JSON.stringify({
    message_type: "certificate_update",
    data: {
      cert_index: 1,
      leaf_cert: {
        all_domains: [name],
        fingerprint: fingerprintOf(name),
        serial_number: fingerprintOf(name).toUpperCase(),
        not_before: 1_761_915_088,
        not_after: 1_769_694_679,
        issuer: { CN: "Chaos CA", O: "Chaos" },
      },
      seen: Date.now() / 1000,
      source: { name: "Chaos log", url: "https://log.example/" },
      update_type: "X509LogEntry",
    },
  });

describeIfAvailable("a receiver that misbehaves, while 10,000 alerts wait for it", NO_POSTGRES, () => {
  let cluster: Cluster;
  let db: Database;
  let simulator: CertstreamSimulator;
  const receiver = new ChaosReceiver();
  let dsn: string;
  beforeAll(async () => {
    cluster = await startCluster();
    dsn = await cluster.createDatabase();
    db = openPool(parseDsn(dsn));
    await watchNames(db, ["watched.example"]);
    simulator = await startCertstreamSimulator();
    await receiver.open();
  });
  afterAll(async () => {
    await endPrograms();
    await receiver.shut();
    await simulator?.close();
    await db?.end();
    await cluster?.close();
  });

  test("memory is bounded, the feed goes on, a suspicious alert arrives within seconds, and at the end all do", async () => {
    const random = randomOf("receiver");
    const names = Array.from({ length: waiting }, (_, i) => `i${i}.watched.example`);
    await db.execute(
      {
        text: `INSERT INTO public.certs (fingerprint_sha1, sans, not_before, not_after, added_at)
               SELECT f, '[]', 0, 0, 0 FROM unnest($1::text[]) AS f`,
        values: [names.map(fingerprintOf)],
      },
      30_000,
    );
    receiver.info = misbehaviours.hanging!;
    const program = spawnProgram(["run"], {
      POSTGRES_DSN: dsn,
      CERTSTREAM_URL: simulator.url,
      WEBHOOK_URL: receiver.url,
      WEBHOOK_TIMEOUT_S: "2",
      WEBHOOK_MAX_ATTEMPTS: "1000",
      SUSPICIOUS_GRACE_S: "0.5",
      LOG_LEVEL: "error",
      API_PORT: String(await (await import("../support/postgres.ts")).freePort()),
    });
    void program;
  });
});
