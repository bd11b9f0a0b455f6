import { rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { embeddedDsn } from "../../src/db/embedded/open.ts";
import { embeddedDir } from "../support/embedded.ts";
import { endPrograms, type Program } from "../support/program.ts";
import { Bed } from "./support/bed.ts";
import { type Change, readHistory } from "./support/history.ts";
import { shortOrLong } from "./support/seed.ts";

const kills = shortOrLong(5, 20);

describe("the embedded database", () => {
  let dir: string;
  let bed: Bed;
  beforeAll(async () => {
    dir = await embeddedDir();
    const env = { POSTGRES_DSN: "", DATA_DIR: dir, WATCH_REFRESH_INTERVAL_S: "0.5" };
    bed = await Bed.open({ name: "embedded", dsn: embeddedDsn(dir), args: ["run", "--embedded"], env });
  });
  afterAll(async () => {
    await endPrograms();
    await bed?.close();
    if (dir !== undefined) await rm(dir, { recursive: true });
  });

  /** Starts it, and waits until the watch list is in use. */
  async function start(): Promise<Program> {
    const program = await bed.start();
    await bed.waitFor(
      "the watch list",
      async () => (await program.metrics()).get("certwatch_watch_entries") === 1,
    );
    return program;
  }

  test(`${kills} kills: it opens again each time, and nothing acknowledged is gone`, async () => {
    const first = await bed.start();
    await bed.prepare(kills * 30 + 30);
    expect(await first.stop()).toBe(0);

    /** What a reader was told to be committed. */
    let acknowledged: Change[] = [];
    for (let i = 0; i < kills; i += 1) {
      const program = await start();
      expect((await readHistory(bed.db)).slice(0, acknowledged.length)).toEqual(acknowledged);
      await bed.sendWhile(async () => {
        const endMs = performance.now() + bed.random.int(50, 1_500);
        while (performance.now() < endMs && bed.stock > 20) {
          acknowledged = await readHistory(bed.db);
          await sleep(bed.random.int(0, 50));
        }
        await bed.kill(program);
      }, 40);
    }
    await start();
    await bed.settle();
    const before = await bed.audit("embedded");
    await bed.publish(bed.ledger.sentItems, 1);
    await bed.waitUntilRecorded(bed.ledger.sentItems);
    await bed.settle();
    const after = await bed.audit("embedded, everything sent again");
    expect(after).toMatchObject({ recorded: after.sent, events: after.sent, repeated: before.repeated });
  });
});
