import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { WebSocket } from "ws";
import { createAuthority, type Issuance } from "../../src/demo/certificates.ts";
import type { LogEntry } from "../../src/demo/log-entry.ts";
import { type Feed, wireMessage } from "../../src/demo/wire.ts";
import { startTestBed, type TestBed } from "./test-bed.ts";

const binary = inject("certstreamServerGo");

/** Certificates that differ in what the servers write differently. */
const subjects: Record<string, () => Issuance> = {
  ordinary: () => issuer.issue({ dnsNames: ["example.org", "*.example.org", "www.example.org"] }),
  "CN that is no SAN, O": () =>
    issuer.issue({
      dnsNames: ["a.example.org"],
      commonName: "cn.example.org",
      organization: "Example & Söhne",
    }),
  "no CN": () => issuer.issue({ dnsNames: ["a.example.org"], commonName: "" }),
  "no names at all": () => issuer.issue({ dnsNames: [] }),
  "serial with the first bit set": () =>
    issuer.issue({ dnsNames: ["a.example.org"], serial: Buffer.from("00b7590001", "hex") }),
  "serial with a zero digit first": () =>
    issuer.issue({ dnsNames: ["a.example.org"], serial: Buffer.from("0a0b", "hex") }),
  "valid into 2050": () => issuer.issue({ dnsNames: ["a.example.org"], notAfterEpochSeconds: 2_600_000_000 }),
  "names no host has": () =>
    issuer.issue({
      dnsNames: ['quote".example.org', "back\\slash.example.org", "nul\0.example.org", "<&>.example.org"],
    }),
  "names beyond ASCII": () => issuer.issue({ dnsNames: ["bücher.example.org", "sep\u2028\x7f.example.org"] }),
};
const root = createAuthority({ country: "US", organization: "Example Trust", commonName: "Example Root" });
const issuer = createAuthority({
  country: "US",
  organization: "Example Trust",
  commonName: "E1",
  parent: root,
});

const kinds = ["X509LogEntry", "PrecertLogEntry"] as const;

describe.skipIf(binary === null)("certstream-server-go sends what wireMessage writes", () => {
  const received: Record<Feed, string[]> = { full: [], lite: [], "domains-only": [] };
  const clients: WebSocket[] = [];
  const published = new Map<string, LogEntry>();
  let bed: TestBed;

  beforeAll(async () => {
    // Two entries before the end of a tile: the server reads whole tiles and parts of them.
    bed = await startTestBed(binary!, { tiled: 254 });
    for (const feed of Object.keys(received) as Feed[]) {
      const client = new WebSocket(bed.server.url(feed));
      clients.push(client);
      client.on("message", (data) => received[feed].push(String(data)));
      await once(client, "open");
    }
    await bed.server.waitForClients(clients.length);

    const last = {
      issuance: issuer.issue({ dnsNames: ["last.example.org"] }),
      kind: "X509LogEntry",
    } as const;
    const submissions = Object.entries(subjects).flatMap(([name, issue]) => {
      const issuance = issue();
      return kinds.map((kind) => ({ name, issuance, kind }));
    });
    for (const { log, publish } of [bed.rfc6962, bed.tiled]) {
      const entries = publish(...submissions, last);
      for (const [i, { name, kind }] of submissions.entries()) {
        published.set(`${log.type} ${kind} ${name}`, entries[i]!);
      }
    }
    await Promise.all(clients.map((client) => until(client, "last.example.org", 2)));
  });

  afterAll(async () => {
    for (const client of clients) client.terminate();
    await bed?.stop();
  });

  /** Resolves when the client has had `times` messages with the text; the feed keeps the order of each log. */
  async function until(client: WebSocket, text: string, times: number): Promise<void> {
    const feed = Object.values(received)[clients.indexOf(client)]!;
    while (feed.filter((message) => message.includes(text)).length < times) await once(client, "message");
  }

  const cases = ["rfc6962", "tiled"].flatMap((type) =>
    kinds.flatMap((kind) => Object.keys(subjects).map((name) => `${type} ${kind} ${name}`)),
  );

  test.each(cases)("%s", (name) => {
    const entry = published.get(name)!;
    for (const feed of ["full", "lite"] as const) {
      const theirs = received[feed].find((message) => isOf(message, entry));
      expect(theirs, feed).toBeDefined();
      const seenEpochSeconds = JSON.parse(theirs!).data.seen;
      const ours = wireMessage({ ...entry, seenEpochSeconds }, { feed });
      expect(JSON.parse(theirs!), feed).toEqual(JSON.parse(ours));
      expect(theirs, feed).toBe(ours);
    }
    expect(received["domains-only"]).toContain(wireMessage(entry, { feed: "domains-only" }));
  });

  test("the first entry of a tiled log after the start is lost", () => {
    const indices = received.full
      .map((message) => JSON.parse(message).data)
      .filter((data) => data.source.type === "tiled")
      .map((data) => data.cert_index);
    expect(Math.min(...indices)).toBe(255);
  });
});

function isOf(message: string, entry: LogEntry): boolean {
  const { data } = JSON.parse(message);
  return data.cert_index === entry.index && data.source.url === entry.log.url;
}
