import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { wireMessage } from "../../src/demo/wire.ts";
import { byHand } from "../support/by-hand.ts";
import { type Cluster, NO_POSTGRES, startCluster } from "../support/postgres.ts";
import { describeIfAvailable } from "../support/skip.ts";
import { Bed } from "./support/bed.ts";
import { readHistory } from "./support/history.ts";
import { entryOf } from "./support/stock.ts";

const graceSeconds = 2;
const hourMs = 3_600_000;

/** A Node.js whose wall clock is off by what the expression says, in milliseconds; the monotonic clock is right. */
function withClock(offsetMs: string): NodeJS.ProcessEnv {
  const shift = `const Real = Date; const off = () => ${offsetMs};
    globalThis.Date = class Date extends Real {
      constructor(...given) { super(...(given.length === 0 ? [Real.now() + off()] : given)); }
      static now() { return Math.floor(Real.now() + off()); }
    };`;
  return { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(shift)}` };
}

describeIfAvailable("clocks that are wrong", NO_POSTGRES, () => {
  let cluster: Cluster;
  let bed: Bed;
  beforeAll(async () => {
    cluster = await startCluster();
  });
  afterEach(() => bed?.close());
  afterAll(() => cluster?.close());

  test("an hour ahead, an hour behind, jumping: grace, leases and cleanup go by the database's clock", async () => {
    const env = {
      SUSPICIOUS_GRACE_S: String(graceSeconds),
      ALERT_RETENTION_S: "1800",
      CLEANUP_INTERVAL_S: "0.5",
      WEBHOOK_TIMEOUT_S: "60",
    };
    bed = await Bed.open({ name: "clocks", dsn: await cluster.createDatabase(), env });
    await bed.prepare(200);
    const ahead = await bed.start(withClock(`${hourMs}`));
    const behind = await bed.start(withClock(`-${hourMs}`));
    await bed.start(withClock(`Math.sin(Math.floor(performance.now() / 500)) * ${2 * hourMs}`));
    const offMs = (time: string) => Math.round((Date.parse(time) - Date.now()) / hourMs);
    expect([offMs(ahead.lines.at(-1)!.time), offMs(behind.lines.at(-1)!.time)]).toEqual([1, -1]);

    await bed.sendWhile(() => sleep(4_000), 40);
    // Without a time of its own a message gets that of the receiving clock.
    for (const item of bed.take(10)) {
      const message = JSON.parse(wireMessage(entryOf(item, item.kinds[0]!)));
      delete message.data.seen;
      await bed.simulator.sendRaw(JSON.stringify(message));
    }
    await bed.waitUntilRecorded(bed.ledger.sentItems);
    await bed.settle();
    const figures = await bed.audit("clocks");
    expect(figures).toMatchObject({ unrecorded: [], repeated: 0 });

    const waited = await gracesSeconds();
    expect(waited.length).toBeGreaterThan(10);
    // The grace counts from the beginning of the transaction that records, a busy moment before the history's row.
    expect(Math.min(...waited)).toBeGreaterThan(graceSeconds - 0.5);
    expect(Math.max(...waited)).toBeLessThan(graceSeconds + 20);
  });

  /** By the database's clock, from recording to judgement, of each suspicious event. */
  async function gracesSeconds(): Promise<number[]> {
    const history = await readHistory(bed.db);
    const recordedMs = new Map<number, number>();
    const seconds = new Map<number, number>();
    for (const { id, operation, severity, at } of history) {
      if (operation === "INSERT") recordedMs.set(id, at.getTime());
      else if (severity === "suspicious" && !seconds.has(id))
        seconds.set(id, (at.getTime() - recordedMs.get(id)!) / 1000);
    }
    return [...seconds.values()];
  }

  test("a replica whose clock is ahead does not take the claims of one that has just died", async () => {
    bed = await Bed.open({ name: "clocks and leases", dsn: await cluster.createDatabase() });
    await bed.prepare(10, { knownShare: 1, kinds: ["X509LogEntry"] });
    bed.answerWith("hang");
    const victim = await bed.start();
    await bed.send(10);
    await bed.receiver.waitForCount(10);
    await bed.kill(victim);
    bed.answerWith(200);
    const ahead = await bed.start(withClock(`${24 * hourMs}`));
    await bed.stockUp(1);
    const [fresh] = await bed.send(1);
    await bed.receiver.waitFor(({ body }) => body.includes(fresh!.name));
    // Longer than it waits between two looks.
    await sleep(6_000);
    expect(bed.receiver.count).toBe(11);
    await bed.db.execute(
      { name: byHand, text: "UPDATE public.alerts SET lease_until = now() WHERE NOT delivered" },
      5_000,
    );
    await bed.settle();
    expect(await bed.audit("clocks and leases")).toMatchObject({ unrecorded: [], delivered: 11 });
    expect(await ahead.stop()).toBe(0);
  });
});
