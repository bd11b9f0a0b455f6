import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type Cluster, NO_POSTGRES, startCluster } from "../support/postgres.ts";
import { describeIfAvailable } from "../support/skip.ts";
import { Bed } from "./support/bed.ts";
import { shortOrLong } from "./support/seed.ts";
import type { Item } from "./support/stock.ts";

const kills = { one: shortOrLong(5, 100), two: shortOrLong(5, 100) };
const meanGapMs = 20;

describeIfAvailable("kill -9 at random moments", NO_POSTGRES, () => {
  let cluster: Cluster;
  let bed: Bed;
  beforeAll(async () => {
    cluster = await startCluster();
  });
  afterEach(() => bed?.close());
  afterAll(() => cluster?.close());

  /** Sends everything once more, as another log has it, and things that are new: only the new ones make events. */
  async function sendAgainAndClose(title: string): Promise<void> {
    const before = await bed.audit(`${title}, before everything is sent again`);
    await bed.publish(bed.ledger.sentItems, 1);
    // Without kills any more: nothing of this may be repeated.
    await bed.stockUp(20);
    const fresh = await bed.send(20);
    await bed.waitUntilRecorded([...before.unrecorded, ...fresh]);
    await bed.settle();
    const after = await bed.audit(title);
    expect(after.events).toBe(before.events + before.unrecorded.length + fresh.length);
    expect(after).toMatchObject({ recorded: after.sent, delivered: after.sent, repeated: before.repeated });
  }

  test(`one replica, ${kills.one} kills: nothing recorded is lost`, async () => {
    bed = await Bed.open({ name: "one replica", dsn: await cluster.createDatabase() });
    await bed.prepare(100);
    await bed.sendWhile(async () => {
      for (let i = 0; i < kills.one; i += 1) {
        const program = await bed.start();
        await sleep(bed.random.int(0, 1_500));
        await bed.kill(program);
      }
    }, meanGapMs);
    await bed.start();
    await bed.settle();
    await sendAgainAndClose("one replica");
  });

  test(`two replicas on one database, ${kills.two} kills: nothing at all is lost`, async () => {
    bed = await Bed.open({ name: "two replicas", dsn: await cluster.createDatabase() });
    await bed.prepare(100);
    const replicas = [await bed.start(), await bed.start()];
    /** Sent up to the last start: one replica may be the only one to have them, until they are committed. */
    let sentToOne: Item[] = [];
    let committed = 0;
    await bed.sendWhile(async () => {
      for (let i = 0; i < kills.two; i += 1) {
        await bed.waitUntilRecorded(sentToOne);
        committed += sentToOne.length;
        await sleep(bed.random.int(0, 800));
        const victim = bed.random.int(0, 1);
        await bed.kill(replicas[victim]!);
        await sleep(bed.random.int(0, 300));
        replicas[victim] = await bed.start();
        sentToOne = bed.ledger.sentItems.slice(committed);
      }
    }, meanGapMs);
    await bed.waitUntilRecorded(bed.ledger.sentItems);
    await bed.settle();
    const figures = await bed.audit("two replicas, all sent once");
    expect(figures.unrecorded).toEqual([]);
    await sendAgainAndClose("two replicas");
  });
});
