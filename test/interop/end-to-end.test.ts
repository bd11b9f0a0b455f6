import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import type { Payload } from "../../src/alerts/payload.ts";
import { readConfig } from "../../src/config.ts";
import { parseDsn } from "../../src/db/dsn.ts";
import { type Database, openPool } from "../../src/db/pool.ts";
import { type Authority, createAuthority, type Issuance } from "../../src/demo/certificates.ts";
import { startWebhookReceiver, type WebhookReceiver } from "../../src/demo/receiver.ts";
import { addToInventory } from "../../src/demo/upstream.ts";
import { createLogger } from "../../src/log.ts";
import { type Service, startService } from "../../src/service.ts";
import { addWatchEntries } from "../../src/watchlist/edit.ts";
import { byHand } from "../support/by-hand.ts";
import { type DatabaseSource, NO_POSTGRES_OR_DSN, openPostgres } from "../support/postgres.ts";
import { describeIfAvailable } from "../support/skip.ts";
import { startTestBed, type TestBed } from "./test-bed.ts";

const binary = inject("certstreamServerGo");
const missing = binary === null ? "no go to build certstream-server-go with" : NO_POSTGRES_OR_DSN;
const graceSeconds = 2;

describeIfAvailable("certwatch on the real certstream-server-go and PostgreSQL", missing, () => {
  describe.each(["full", "lite"] as const)("%s feed", (feed) => {
    let postgres: DatabaseSource;
    let bed: TestBed;
    let receiver: WebhookReceiver;
    let db: Database;
    let service: Service;
    let ours: Authority;
    let theirs: Authority;

    beforeAll(async () => {
      postgres = await openPostgres();
    });
    afterAll(async () => {
      await postgres.close();
    });

    beforeEach(async () => {
      const dsn = await postgres.createDatabase();
      db = openPool(parseDsn(dsn), { maxConnections: 1 });
      await addWatchEntries(db, ["example.org"], 10_000);
      ours = createAuthority({ commonName: "R11", organization: "Our CA", country: "US" });
      theirs = createAuthority({ commonName: "X1", organization: "Their CA", country: "XX" });
      receiver = await startWebhookReceiver();
      bed = await startTestBed(binary!);
      const environment = {
        POSTGRES_DSN: dsn,
        CERTSTREAM_URL: bed.server.url(feed),
        WEBHOOK_URL: receiver.url,
        API_PORT: "0",
        SUSPICIOUS_GRACE_S: String(graceSeconds),
        LOG_LEVEL: "SILENT",
      };
      const config = readConfig(environment, { embedded: false });
      service = await startService(config, createLogger(config.logLevel), new AbortController().signal);
      await bed.server.waitForClients(1);
    });
    afterEach(async () => {
      service.stop();
      expect(await service.stopped).toBe(0);
      await bed.stop();
      await receiver.close();
      await db.end();
    });

    const events = () =>
      receiver.deliveries
        .map(({ json }) => json as Payload)
        .map(({ severity, matched_sans, match_basis }) => `${severity} ${matched_sans[0]} ${match_basis}`)
        .sort();

    /** Waits until everything that was published is judged: a marker published last, and nothing left pending. */
    async function settle(): Promise<void> {
      const marker = theirs.issue({ dnsNames: ["marker.example.org"] });
      bed.rfc6962.publish({ issuance: marker, kind: "X509LogEntry" });
      bed.tiled.publish({ issuance: marker, kind: "X509LogEntry" });
      await receiver.waitFor(
        ({ json }) => (json as Payload).matched_sans.includes("marker.example.org"),
        60_000,
      );
      await expect
        .poll(
          async () =>
            await db.query(
              { name: byHand, text: "SELECT FROM alerts WHERE severity = 'pending' OR NOT delivered" },
              5_000,
            ),
          {
            timeout: 30_000,
          },
        )
        .toEqual([]);
    }

    test("own renewal: the precertificate first, then the final certificate, make one info", async () => {
      const renewal = ours.issue({ dnsNames: ["www.example.org", "example.org"] });
      await addToInventory(db, [renewal], "test");
      bed.rfc6962.publish(
        { issuance: renewal, kind: "PrecertLogEntry" },
        { issuance: renewal, kind: "X509LogEntry" },
      );
      bed.tiled.publish(
        { issuance: renewal, kind: "PrecertLogEntry" },
        { issuance: renewal, kind: "X509LogEntry" },
      );
      await settle();
      const ofRenewal = events().filter(
        (event) => event.includes("example.org") && !event.includes("marker"),
      );
      expect(ofRenewal).toHaveLength(1);
      expect(ofRenewal[0]).toMatch(/^info example\.org (serial|fingerprint)$/);
    });

    test("a hijack makes one suspicious, from both logs and both kinds", async () => {
      const hijack = theirs.issue({ dnsNames: ["login.example.org"] });
      bed.rfc6962.publish(
        { issuance: hijack, kind: "PrecertLogEntry" },
        { issuance: hijack, kind: "X509LogEntry" },
      );
      bed.tiled.publish(
        { issuance: hijack, kind: "PrecertLogEntry" },
        { issuance: hijack, kind: "X509LogEntry" },
      );
      await settle();
      expect(events()).toEqual(["suspicious login.example.org none", "suspicious marker.example.org none"]);
    });

    test("three precertificates of a static-ct log make three events", async () => {
      const names = ["a.example.org", "b.example.org", "c.example.org"];
      bed.tiled.publish(
        ...names.map((name) => ({
          issuance: theirs.issue({ dnsNames: [name] }),
          kind: "PrecertLogEntry" as const,
        })),
      );
      await settle();
      expect(events().filter((event) => !event.includes("marker"))).toEqual(
        names.map((name) => `suspicious ${name} none`),
      );
    });

    test("a late inventory makes suspicious, then an all-clear with the final certificate", async () => {
      const late: Issuance = ours.issue({ dnsNames: ["late.example.org"] });
      bed.rfc6962.publish({ issuance: late, kind: "PrecertLogEntry" });
      await receiver.waitFor(({ json }) => (json as Payload).severity === "suspicious", 60_000);
      await addToInventory(db, [late], "test");
      bed.rfc6962.publish({ issuance: late, kind: "X509LogEntry" });
      const { json } = await receiver.waitFor(({ json }) => (json as Payload).severity === "info", 60_000);
      expect((json as Payload).reason).toMatch(/^All-clear: /);
      await settle();
      expect(events()).toEqual([
        "info late.example.org fingerprint",
        "suspicious late.example.org none",
        "suspicious marker.example.org none",
      ]);
    });
  });
});
