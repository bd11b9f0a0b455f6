import { execFileSync } from "node:child_process";
import { chownSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { byHand } from "../support/by-hand.ts";
import { type Cluster, NO_POSTGRES, startCluster } from "../support/postgres.ts";
import { describeIfAvailable } from "../support/skip.ts";
import { Bed } from "./support/bed.ts";

const retryableErrors = 'certwatch_database_errors_total{kind="retryable"}';
const diskBytes = 48 * 1024 * 1024;

/** Some containers forbid it to root, too. */
function whyNoMount(): string | undefined {
  const dir = mkdtempSync(join(tmpdir(), "certwatch-mount-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", dir], { stdio: "pipe" });
    execFileSync("umount", [dir], { stdio: "pipe" });
    return undefined;
  } catch {
    return "no right to mount a tmpfs";
  } finally {
    rmSync(dir, { recursive: true });
  }
}

describeIfAvailable("disk full", NO_POSTGRES ?? whyNoMount(), () => {
  let cluster: Cluster;
  let bed: Bed;
  let disk: string;
  beforeAll(async () => {
    cluster = await startCluster();
    disk = join(cluster.dir, "disk");
    mkdirSync(disk);
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${diskBytes}`, "tmpfs", disk]);
    const { uid, gid } = statSync(cluster.dir);
    const space = join(disk, "space");
    mkdirSync(space);
    chownSync(space, uid, gid);
    const dsn = await cluster.createDatabase();
    bed = await Bed.open({ name: "disk full", dsn });
    await bed.prepare(0);
    await bed.db.execute({ name: byHand, text: `CREATE TABLESPACE small LOCATION '${space}'` }, 10_000);
  });
  afterEach(() => bed?.close());
  afterAll(async () => {
    await cluster?.close().catch(() => {}); // its folder is busy while the disk is mounted in it
    execFileSync("umount", ["-l", disk]);
    rmSync(cluster.dir, { recursive: true, force: true });
  });

  test("the table's disk is full for a while: nothing is lost", async () => {
    await bed.db.execute(
      {
        name: byHand,
        text: `ALTER TABLE public.alerts SET TABLESPACE small;
               ALTER INDEX public.alerts_certificate_key SET TABLESPACE small`,
      },
      30_000,
    );
    await bed.stockUp(500);
    const program = await bed.start();
    await bed.sendWhile(async () => {
      await sleep(bed.random.int(50, 300));
      await bed.duringOutage("disk full", async () => {
        const filling = join(disk, "filling");
        expect(() => writeFileSync(filling, Buffer.alloc(diskBytes))).toThrow("ENOSPC");
        await program.waitForMetric(retryableErrors, (count) => count >= 2);
        await program.waitForMetric("certwatch_alerts_waiting", (waiting) => waiting > 0);
        rmSync(filling);
      });
    }, 10);
    await bed.waitUntilRecorded(bed.ledger.sentItems);
    await bed.settle();
    expect(program.lines.some(({ error }) => String(error).includes("53100"))).toBe(true);
    expect((await bed.audit("disk full")).unrecorded).toEqual([]);
    expect(await program.stop()).toBe(0);
  });
});
