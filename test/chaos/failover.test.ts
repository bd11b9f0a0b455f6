import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { NO_POSTGRES } from "../support/postgres.ts";
import { describeIfAvailable } from "../support/skip.ts";
import { Bed } from "./support/bed.ts";
import { readHistory } from "./support/history.ts";
import { isShort } from "./support/seed.ts";
import { type ReplicatedPair, startReplicatedPair } from "./support/standby.ts";

describeIfAvailable("failover", NO_POSTGRES, () => {
  let pair: ReplicatedPair;
  let bed: Bed;
  beforeEach(async ({ task }) => {
    pair = await startReplicatedPair();
    const name = new URL((await pair.primary.createDatabase()).replace("@/", "@localhost/")).pathname.slice(
      1,
    );
    bed = await Bed.open({ name: task.name, dsn: pair.dsn(name) });
    await bed.prepare(500);
  });
  afterEach(async () => {
    await bed?.close();
    await pair?.close();
  });

  test.each(isShort ? ["freezes"] : ["crashes", "is stopped", "freezes"])(
    "the primary %s, the standby is promoted: both replicas follow, nothing committed is lost",
    async (how) => {
      const replicas = [await bed.start(), await bed.start()];
      await bed.sendWhile(async () => {
        await sleep(bed.random.int(300, 1_500));
        await bed.duringOutage(`the primary ${how}`, async () => {
          if (how === "crashes") await pair.primary.kill();
          else if (how === "is stopped") await pair.primary.stop();
          else pair.primary.freeze();
          await sleep(bed.random.int(0, 1_500));
          await pair.promote();
          // The old one does not come back: that is what whoever fails over has to see to.
          if (how === "freezes") await pair.primary.kill();
        });
        await bed.waitFor("the promoted server to get writes", async () => {
          const history = await readHistory(bed.db);
          return history.some(({ at }) => at.getTime() > Date.now() - 500);
        });
      }, 40);
      await bed.waitUntilRecorded(bed.ledger.sentItems);
      await bed.settle();
      expect((await bed.audit(`failover, the primary ${how}`)).unrecorded).toEqual([]);
      for (const replica of replicas) expect(await replica.stop()).toBe(0);
    },
  );
});
