import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { wireMessage } from "../../src/demo/wire.ts";
import { type Cluster, NO_POSTGRES, startCluster } from "../support/postgres.ts";
import { endPrograms } from "../support/program.ts";
import { describeIfAvailable } from "../support/skip.ts";
import { type Bed, entryOf, isFor, openBed } from "./bed.ts";

const updates = 'certwatch_ct_messages_total{type="certificate_update"}';

describeIfAvailable("when Postgres and the receiver are away", NO_POSTGRES, () => {
  let cluster: Cluster;
  let bed: Bed;
  beforeAll(async () => {
    cluster = await startCluster();
    bed = await openBed(await cluster.createDatabase());
  });
  afterEach(endPrograms);
  afterAll(async () => {
    await bed?.close();
    await cluster?.close();
  });

  const noise = wireMessage(entryOf({ dnsNames: ["www.unwatched.example"] }), { feed: "full" });
  const flood = 5_000;

  /** Sends noise with matches in between, and waits until certwatch says that it has read all of them. */
  async function sendFlood(program: Awaited<ReturnType<Bed["start"]>>, names: string[]): Promise<void> {
    const before = (await program.metrics()).get(updates)!;
    const every = Math.floor(flood / names.length);
    for (let i = 0; i < flood; i += 1) {
      if (i % every === 0 && names[i / every] !== undefined)
        await bed.simulator.publish(entryOf({ dnsNames: [names[i / every]!] }));
      else await bed.simulator.sendRaw(noise);
    }
    await program.waitForMetric(updates, (value) => value === before + flood);
  }

  test.each(["stopped", "frozen"])(
    "receiver hanging and Postgres %s: every message is read, every match arrives",
    async (how) => {
      bed.receiver.setBehaviour("hang");
      const program = await bed.start({ WEBHOOK_TIMEOUT_S: "2", WEBHOOK_MAX_ATTEMPTS: "20" });
      const first = `first-${how}.watched.example`;
      await bed.simulator.publish(entryOf({ dnsNames: [first] }));
      await bed.receiver.waitFor(isFor(first));
      if (how === "stopped") await cluster.stop();
      else cluster.freeze();
      const names = Array.from({ length: 50 }, (_, i) => `m${i}-${how}.watched.example`);
      await sendFlood(program, names);
      expect((await program.metrics()).get("certwatch_alerts_waiting")).toBe(50);
      if (how === "stopped") {
        await program.waitForMetric('certwatch_database_errors_total{kind="retryable"}', (n) => n > 0);
        const failed = 'certwatch_database_statement_errors_total{statement="record certificates"}';
        await program.waitForMetric(failed, (n) => n > 0);
        const line = await program.waitForLog("recording failed, will try again");
        expect(line).toMatchObject({ kind: "retryable", statement: "record certificates" });
      }
      const health = await fetch(`${program.apiUrl}/healthz`);
      expect([health.status, await health.json()]).toMatchObject([
        200,
        { ok: true, pending_alerts: 50, ws_connected: true },
      ]);

      bed.receiver.setBehaviour(200);
      if (how === "stopped") await cluster.start();
      else cluster.thaw();
      for (const name of [first, ...names]) await bed.receiver.waitFor(isFor(name));
      const metrics = await program.metrics();
      expect(metrics.get("certwatch_alerts_waiting")).toBe(0);
      expect(metrics.get("certwatch_alerts_dropped_total")).toBe(0);
      expect(metrics.get('certwatch_ct_messages_total{type="other"}')).toBe(0);
      expect(await program.stop()).toBe(0);
    },
  );

  test("stop while Postgres is away: more than the log may keep is logged whole all the same", async () => {
    const program = await bed.start();
    await cluster.stop();
    // Lines of 160 kB, 80 MB of them.
    const count = 500;
    const names = Array.from({ length: 1_000 }, (_, i) => `${i}.${"long.".repeat(7)}watched.example`);
    for (let i = 0; i < count; i += 1) {
      const leaf_cert = { all_domains: names, fingerprint: i.toString(16).padStart(40, "0") };
      await bed.simulator.sendRaw(
        JSON.stringify({ message_type: "certificate_update", data: { leaf_cert, cert_index: i } }),
      );
    }
    await program.waitForMetric("certwatch_alerts_waiting", (waiting) => waiting === count);
    program.signal("SIGTERM");
    expect(await program.exited).toEqual({ status: 1, signal: null });
    await cluster.start();
    const dropped = program.lines.flatMap((line) => (line.dropped as { sans: string[] } | undefined) ?? []);
    expect(dropped).toHaveLength(count);
    expect(JSON.stringify(dropped).length).toBeGreaterThan(64 * 2 ** 20);
    expect(program.lines.at(-1)).toMatchObject({ msg: "stopped", certificates_not_written: count });
  });

  test("stop while Postgres is away: what cannot be written is logged whole, line by line, and the status is 1", async () => {
    bed.receiver.setBehaviour("hang");
    const program = await bed.start({ WEBHOOK_TIMEOUT_S: "60" });
    // An attempt under way, whose outcome cannot be written down either.
    await bed.simulator.publish(entryOf({ dnsNames: ["under-way.watched.example"] }));
    await bed.receiver.waitFor(isFor("under-way.watched.example"));
    await cluster.stop();
    const names = ["one.watched.example", "two\u0000.watched.example", "three.watched.example"];
    for (const name of names) await bed.simulator.publish(entryOf({ dnsNames: [name], commonName: "" }));
    await program.waitForMetric("certwatch_alerts_waiting", (waiting) => waiting === names.length);
    program.signal("SIGTERM");
    expect(await program.exited).toEqual({ status: 1, signal: null });
    await cluster.start();

    const dropped = program.lines.filter((line) => line.dropped !== undefined);
    expect(dropped.map(({ level }) => level)).toEqual(["error", "error", "error"]);
    expect(dropped.map((line) => (line.dropped as { sans: string[] }).sans)).toEqual(
      names.map((name) => [name]),
    );
    expect(dropped[0]).toMatchObject({
      dropped: {
        matched: ["watched.example"],
        payload: { serial: expect.any(String), not_before: expect.any(Number), issuer_cn: "Test CA" },
      },
    });
    expect(program.lines.at(-1)).toMatchObject({ msg: "stopped", certificates_not_written: 3 });
    expect(program.stderr).toBe("");
  });
});
