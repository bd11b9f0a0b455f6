import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { byHand } from "../support/by-hand.ts";
import type { DatabaseSource } from "../support/postgres.ts";
import { endPrograms } from "../support/program.ts";
import { type Bed, entryOf, isFor, openAnyDatabase, openBed } from "./bed.ts";

describe("stop", () => {
  let databases: DatabaseSource;
  let bed: Bed;
  beforeAll(async () => {
    databases = await openAnyDatabase();
  });
  beforeEach(async () => {
    bed = await openBed(await databases.createDatabase());
  });
  afterEach(async () => {
    await endPrograms();
    await bed?.close();
  });
  afterAll(() => databases?.close());

  const rows = async () =>
    await bed.db.query<{ severity: string; delivered: boolean; name: string }>(
      {
        name: byHand,
        text: 'SELECT severity, delivered, sans ->> 0 AS name FROM public.alerts ORDER BY (sans ->> 0) COLLATE "C"',
      },
      5_000,
    );

  test.each(["SIGTERM", "SIGINT"] as const)("%s: status 0 and a last line that says so", async (signal) => {
    const program = await bed.start();
    program.signal(signal);
    expect(await program.exited).toEqual({ status: 0, signal: null });
    expect(program.lines.at(-1)).toMatchObject({ msg: "stopped", certificates_not_written: 0 });
    expect(program.stderr).toBe("");
  });

  test("a running attempt finishes, its outcome is written down, and meanwhile /healthz is 503", async () => {
    const receiver = await startHoldingReceiver();
    const program = await bed.start({ WEBHOOK_URL: receiver.url });
    await bed.simulator.publish(entryOf({ dnsNames: ["slow.watched.example"] }));
    const response = await receiver.arrived;
    program.signal("SIGTERM");
    await program.waitForLog("stopping");
    const health = await fetch(`${program.apiUrl}/healthz`);
    expect([health.status, await health.json()]).toMatchObject([503, { ok: false, problems: ["stopping"] }]);
    response.writeHead(200).end();
    expect(await program.exited).toEqual({ status: 0, signal: null });
    receiver.server.close();
    expect(await rows()).toMatchObject([{ severity: "suspicious", delivered: true }]);
  });

  test("what was matched is committed, stays in its grace, and is delivered by the next start", async () => {
    const program = await bed.start({ SUSPICIOUS_GRACE_S: "3" });
    const names = Array.from({ length: 20 }, (_, i) => `n${i}.watched.example`).sort();
    await bed.db.transaction(20_000, async (tx) => {
      await tx.execute({ name: byHand, text: "LOCK TABLE public.alerts IN EXCLUSIVE MODE" }, 5_000);
      for (const name of names) await bed.simulator.publish(entryOf({ dnsNames: [name] }));
      await program.waitForMetric("certwatch_alerts_waiting", (waiting) => waiting === names.length);
      program.signal("SIGTERM");
      await program.waitForLog("stopping");
    });
    expect(await program.exited).toEqual({ status: 0, signal: null });
    expect(await rows()).toEqual(names.map((name) => ({ severity: "pending", delivered: false, name })));
    expect(bed.receiver.count).toBe(0);

    const next = await bed.start();
    for (const name of names) await bed.receiver.waitFor(isFor(name));
    expect(await next.stop()).toBe(0);
    expect(bed.receiver.count).toBe(names.length);
    expect(await rows()).toEqual(names.map((name) => ({ severity: "suspicious", delivered: true, name })));
  });

  test("a second signal ends it at once, also while an attempt hangs; the alert is delivered after its lease", async () => {
    bed.receiver.setBehaviour("hang");
    const program = await bed.start({ WEBHOOK_TIMEOUT_S: "60" });
    await bed.simulator.publish(entryOf({ dnsNames: ["hanging.watched.example"] }));
    await bed.receiver.waitForCount(1);
    program.signal("SIGTERM");
    await program.waitForLog("stopping");
    program.signal("SIGINT");
    expect(await program.exited).toEqual({ status: 1, signal: null });
    expect(program.lines.some(({ msg }) => msg === "stopped")).toBe(false);
    expect(await rows()).toMatchObject([{ severity: "suspicious", delivered: false }]);
    await bed.db.execute({ name: byHand, text: "UPDATE public.alerts SET lease_until = now()" }, 5_000);
    bed.receiver.setBehaviour(200);
    const next = await bed.start();
    await bed.receiver.waitForCount(2);
    await next.waitForLog("alert delivered");
    const [first, second] = bed.receiver.deliveries;
    expect(second!.headers["webhook-id"]).toBe(first!.headers["webhook-id"]);
    expect(await next.stop()).toBe(0);
  });
});

/** A receiver that leaves it to the test when to answer the first request. */
async function startHoldingReceiver(): Promise<{
  url: string;
  server: Server;
  arrived: Promise<ServerResponse>;
}> {
  const server = createServer();
  const arrived = new Promise<ServerResponse>((resolve) => {
    server.on("request", (request, response) => {
      request.resume();
      resolve(response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, server, arrived };
}
