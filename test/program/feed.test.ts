import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startCertstreamSimulator } from "../../src/demo/certstream.ts";
import { wireMessage } from "../../src/demo/wire.ts";
import { endPrograms, type Program, spawnProgram } from "../support/program.ts";
import { secrets, withSecrets } from "../support/secrets.ts";
import { type Bed, entryOf, isFor, openAnyDatabase, openBedOn } from "./bed.ts";

const updates = 'certwatch_ct_messages_total{type="certificate_update"}';

describe("the feed", () => {
  let bed: Bed;
  beforeAll(async () => {
    bed = await openBedOn(openAnyDatabase);
  });
  afterEach(async () => {
    bed.simulator.refuse(null);
    await endPrograms();
  });
  afterAll(() => bed?.close());

  let count = 0;
  /** Publishes a certificate of its own, which has to arrive. */
  async function expectDelivery(): Promise<void> {
    count += 1;
    const name = `n${count}.watched.example`;
    await bed.simulator.publish(entryOf({ dnsNames: [name] }));
    await bed.receiver.waitFor(isFor(name));
  }
  const reasons = (program: Program) =>
    program.lines.flatMap((line) => (line.reason as string | undefined) ?? []);

  test("comes back after a cut, a Close frame and a refusal, and goes on", async () => {
    const program = await bed.start();
    await expectDelivery();
    await program.waitForMetric("certwatch_ws_connected", (connected) => connected === 1);
    const { accepted } = bed.simulator;
    bed.simulator.dropAll();
    await bed.simulator.waitForClient(accepted + 1);
    await expectDelivery();

    bed.simulator.dropAll(1008);
    await bed.simulator.waitForClient(accepted + 2);
    await expectDelivery();

    const { refused } = bed.simulator;
    bed.simulator.refuse({ status: 403 });
    bed.simulator.dropAll();
    await bed.simulator.waitForRefusal(refused + 1);
    await program.waitForMetric("certwatch_ws_connected", (connected) => connected === 0);
    const line = await program.waitForLog("refuses this client");
    expect(line).toMatchObject({ level: "error", reason: expect.stringContaining("(HTTP 403)") });
    const health = await fetch(`${program.apiUrl}/healthz`);
    expect([health.status, await health.json()]).toMatchObject([200, { ok: true, ws_connected: false }]);
    bed.simulator.refuse(null);
    await bed.simulator.waitForClient(accepted + 3);
    await expectDelivery();

    expect(reasons(program).filter((reason) => reason.includes("code"))).toEqual([
      "the connection was closed (code 1006)",
      "the connection was closed (code 1008)",
      "the connection was closed (code 1006)",
    ]);
    const feed = `ws://***@127.0.0.1:${bed.simulator.port}/full-stream?***`;
    const metrics = await program.metrics();
    expect(metrics.get(`certwatch_feed_reconnects_total{feed="${feed}"}`)).toBeGreaterThanOrEqual(4);
    expect(metrics.get(`certwatch_feed_connected{feed="${feed}"}`)).toBe(1);
    expect(await program.stop()).toBe(0);
  });

  test("a feed that falls silent is replaced, one that never spoke is not", async () => {
    const program = await bed.start({ FEED_IDLE_TIMEOUT_S: "0.4" });
    const { accepted } = bed.simulator;
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(bed.simulator.accepted).toBe(accepted);
    await bed.simulator.sendRaw('{"message_type":"heartbeat"}');
    await bed.simulator.waitForClient(accepted + 1);
    expect(await program.waitForLog("lost the feed")).toMatchObject({
      reason: "no message for 0.4 s (FEED_IDLE_TIMEOUT_S)",
    });
    expect(await program.stop()).toBe(0);
  });

  test("a server that is not there yet: the log says how to start one, and certwatch finds it when it comes", async () => {
    const early = await startCertstreamSimulator();
    await early.close();
    const program = await startWith([early.url]);
    expect(await program.waitForLog("is a certstream server running at CERTSTREAM_URL?")).toMatchObject({
      level: "error",
      reason: expect.stringContaining("ECONNREFUSED"),
    });
    const late = await startCertstreamSimulator({ port: early.port });
    await late.waitForClient();
    await program.waitForLog("connected to the feed");
    expect(await program.stop()).toBe(0);
    await late.close();
  });

  /** Starts without waiting for a connection. */
  async function startWith(urls: string[]): Promise<Program> {
    const program = spawnProgram(["run"], {
      ...bed.env,
      CERTSTREAM_URL: urls
        .map((url) => withSecrets(url, secrets.feedPassword, secrets.feedToken))
        .join(" , "),
    });
    await program.waitForLog("certwatch is watching");
    return program;
  }

  test("several feeds, full and lite, of several servers: read at once, deduplicated", async () => {
    const lite = await startCertstreamSimulator({ server: "rust" });
    const program = await startWith([bed.simulator.url, `${lite.origin}/`]);
    await Promise.all([bed.simulator.waitForClient(bed.simulator.accepted + 1), lite.waitForClient()]);
    const before = bed.receiver.count;
    const entry = entryOf({ dnsNames: ["twice.watched.example"], commonName: "" });
    await Promise.all([bed.simulator.publish(entry, entry), lite.publish(entry, entry)]);
    await bed.receiver.waitFor(isFor("twice.watched.example"));
    await program.waitForMetric(updates, (read) => read === 4);

    // The other feed alone keeps it connected, and suffices.
    await bed.simulator.publish(entryOf({ dnsNames: ["a.unwatched.example"] }));
    await lite.close();
    await program.waitForMetric(
      `certwatch_feed_connected{feed="ws://***@127.0.0.1:${lite.port}/?***"}`,
      (up) => up === 0,
    );
    expect((await program.metrics()).get("certwatch_ws_connected")).toBe(1);
    await expectDelivery();
    expect(bed.receiver.count).toBe(before + 2);
    expect((await program.metrics()).get('certwatch_alerts_total{severity="suspicious"}')).toBe(2);
    expect(await program.stop()).toBe(0);
  });

  test("the domains-only feed: certwatch says once that it cannot be used, and what can", async () => {
    const { accepted } = bed.simulator;
    const program = await startWith([`${bed.simulator.origin}/domains-only`]);
    await bed.simulator.waitForClient(accepted + 1);
    const entry = entryOf({ dnsNames: ["domains.watched.example"] });
    await bed.simulator.publish(entry, entry, entry);
    await program.waitForMetric('certwatch_ct_messages_total{type="dns_entries"}', (read) => read === 3);
    expect(await program.stop()).toBe(0);
    const said = program.lines.filter(({ msg }) => msg.includes("/full-stream or /"));
    expect(said.map(({ level }) => level)).toEqual(["error"]);
  });

  test("bad input is counted and logged once for each kind, and the next good message is processed", async () => {
    const program = await bed.start({ FEED_MAX_MESSAGE_BYTES: String(2 ** 24) });
    const certificate = wireMessage(entryOf({ dnsNames: ["x.watched.example"] }));
    const bad: Record<string, (string | Uint8Array)[]> = {
      not_json: ["not JSON", "", certificate.slice(0, -20), Buffer.from([0, 255, 128, 1])],
      not_an_object: ["null", "[]", "[{}]", '"text"', "7", "true"],
      no_certificate: [
        '{"message_type":"certificate_update"}',
        '{"message_type":"certificate_update","data":null}',
        '{"message_type":"certificate_update","data":[]}',
        '{"message_type":"certificate_update","data":{"leaf_cert":"x"}}',
        Buffer.from('{"data":{},"message_type":"certificate_update"}'),
      ],
    };
    const others = [
      "{}",
      '{"message_type":7}',
      '{"message_type":"__proto__"}',
      '{"message_type":"heartbeats"}',
    ];
    for (let round = 0; round < 3; round += 1) {
      for (const messages of Object.values(bad))
        for (const message of messages) await bed.simulator.sendRaw(message);
    }
    for (const message of others) await bed.simulator.sendRaw(message);
    await bed.simulator.sendRaw('{"message_type":"heartbeat","timestamp":1}');
    await expectDelivery();

    const metrics = await program.metrics();
    for (const [reason, messages] of Object.entries(bad)) {
      expect(metrics.get(`certwatch_ct_messages_refused_total{reason="${reason}"}`), reason).toBe(
        3 * messages.length,
      );
    }
    expect(metrics.get('certwatch_ct_messages_total{type="other"}')).toBe(others.length);
    expect(metrics.get('certwatch_ct_messages_total{type="heartbeat"}')).toBe(1);

    // Good ones in other clothes: binary, and with invalid UTF-8 in a name.
    const binary = wireMessage(entryOf({ dnsNames: ["binary.watched.example"] }));
    await bed.simulator.sendRaw(Buffer.from(binary), { binary: true });
    await bed.receiver.waitFor(isFor("binary.watched.example"));
    const plain = wireMessage(entryOf({ dnsNames: ["xx.utf8.watched.example"] }), { feed: "lite" });
    const invalid = Buffer.from(plain.replaceAll("xx", "\xff\xfe"), "latin1");
    await bed.simulator.sendRaw(invalid, { binary: false });
    await bed.receiver.waitFor(isFor("\ufffd\ufffd.utf8.watched.example"));
    expect(program.lines.filter(({ msg }) => msg === "connected to the feed")).toHaveLength(1);

    // Too large for one message: refused, counted, and the connection is replaced.
    const { accepted } = bed.simulator;
    void bed.simulator.sendRaw(Buffer.alloc(20_000_000, "x"));
    await bed.simulator.waitForClient(accepted + 1);
    expect((await program.metrics()).get('certwatch_ct_messages_refused_total{reason="too_large"}')).toBe(1);
    expect(await program.waitForLog("lost the feed")).toMatchObject({
      reason: "a message was larger than FEED_MAX_MESSAGE_BYTES=16777216",
    });
    await expectDelivery();
    expect(await program.stop()).toBe(0);
    for (const kind of Object.keys(bad))
      expect(
        program.lines.filter(({ reason }) => reason === kind),
        kind,
      ).toHaveLength(1);
  });
});
