import { once } from "node:events";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { createAuthority } from "../../src/demo/certificates.ts";
import { type CertstreamSimulator, startCertstreamSimulator } from "../../src/demo/certstream.ts";
import type { LogEntry } from "../../src/demo/log-entry.ts";
import { wireMessage } from "../../src/demo/wire.ts";

const entry: LogEntry = {
  issuance: createAuthority({ organization: "Example Trust", commonName: "E1" }).issue({
    dnsNames: ["example.org"],
  }),
  kind: "PrecertLogEntry",
  log: { name: "Test log", url: "https://log.example", type: "rfc6962" },
  index: 7,
  seenEpochSeconds: 1_761_918_776.521,
};

describe("certstream simulator", () => {
  let simulator: CertstreamSimulator;
  beforeEach(async () => {
    simulator = await startCertstreamSimulator();
  });
  afterEach(() => simulator.close());

  async function connect(path = "/full-stream"): Promise<WebSocket> {
    const accepted = simulator.accepted;
    const client = new WebSocket(simulator.origin + path);
    client.on("error", () => {});
    await Promise.all([once(client, "open"), simulator.waitForClient(accepted + 1)]);
    return client;
  }

  test("each endpoint has its feed, as text", async () => {
    const feeds = { "/full-stream": "full", "/": "lite", "/domains-only": "domains-only" } as const;
    const clients = await Promise.all(Object.keys(feeds).map((path) => connect(path)));
    const messages = clients.map((client) => once(client, "message"));
    await simulator.publish(entry);
    for (const [i, feed] of Object.values(feeds).entries()) {
      const [data, isBinary] = await messages[i]!;
      expect([String(data), isBinary]).toEqual([wireMessage(entry, { feed }), false]);
    }
  });

  test("raw messages go out as they are, text or binary", async () => {
    const client = await connect();
    const texts = once(client, "message");
    await simulator.sendRaw("not JSON");
    expect(await texts).toEqual([Buffer.from("not JSON"), false]);
    const binary = once(client, "message");
    await simulator.sendRaw(Buffer.from([0, 255]));
    expect(await binary).toEqual([Buffer.from([0, 255]), true]);
  });

  test("dropped clients see no Close frame, closed ones its code, and both can come back", async () => {
    const dropped = once(await connect(), "close");
    simulator.dropAll();
    expect((await dropped)[0]).toBe(1006);
    const closed = once(await connect(), "close");
    simulator.dropAll(1008);
    expect((await closed)[0]).toBe(1008);
    await connect();
    expect(simulator.accepted).toBe(3);
  });

  test("a frozen client gets no pong, others do", async () => {
    const frozen = await connect();
    simulator.freezeAll();
    let pongs = 0;
    frozen.on("pong", () => pongs++);
    frozen.ping();
    const other = await connect();
    other.ping();
    await once(other, "pong");
    expect(pongs).toBe(0);
    expect(simulator.connections).toBe(2);
  });

  test("refuses upgrades with status and headers, until told otherwise", async () => {
    simulator.refuse({ status: 429, headers: { "Retry-After": "3" } });
    const client = new WebSocket(simulator.url);
    const [, response] = await once(client, "unexpected-response");
    expect([response.statusCode, response.headers["retry-after"]]).toEqual([429, "3"]);
    await simulator.waitForRefusal();
    simulator.refuse(null);
    await connect();
    expect([simulator.accepted, simulator.refused]).toEqual([1, 1]);
  });

  test("an unknown path is 404", async () => {
    const [, response] = await once(new WebSocket(`${simulator.origin}/nothing`), "unexpected-response");
    expect(response.statusCode).toBe(404);
  });

  test("close ends clients and frees the port", async () => {
    const closed = once(await connect(), "close");
    await simulator.close();
    await closed;
    simulator = await startCertstreamSimulator({ port: simulator.port });
    await connect();
  });
});
