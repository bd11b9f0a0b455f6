import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseDsn } from "../../src/db/dsn.ts";
import { embeddedDsn } from "../../src/db/embedded/open.ts";
import { openPool } from "../../src/db/pool.ts";
import { type CertstreamSimulator, startCertstreamSimulator } from "../../src/demo/certstream.ts";
import { startWebhookReceiver, type WebhookReceiver } from "../../src/demo/receiver.ts";
import { addWatchEntries } from "../../src/watchlist/edit.ts";
import { byHand } from "../support/by-hand.ts";
import { embeddedDir } from "../support/embedded.ts";
import {
  endPrograms,
  isOutputBlocking,
  runProgram,
  spawnProgram,
  tellsBlocking,
} from "../support/program.ts";
import { secrets, secretWebhookUrl, withSecrets } from "../support/secrets.ts";
import { entryOf, isFor, messageOf, watched } from "./bed.ts";

describe("run --embedded", () => {
  let dir: string;
  let simulator: CertstreamSimulator;
  let receiver: WebhookReceiver;
  let env: NodeJS.ProcessEnv;
  beforeEach(async () => {
    dir = await embeddedDir();
    simulator = await startCertstreamSimulator();
    receiver = await startWebhookReceiver();
    env = {
      DATA_DIR: dir,
      CERTSTREAM_URL: withSecrets(simulator.url, secrets.feedPassword, secrets.feedToken),
      WEBHOOK_URL: secretWebhookUrl(receiver.url),
      API_PORT: "0",
      SUSPICIOUS_GRACE_S: "0.2",
      WATCH_REFRESH_INTERVAL_S: "0.2",
    };
  });
  afterEach(async () => {
    await endPrograms();
    await simulator.close();
    await receiver.close();
    await rm(dir, { recursive: true });
  });

  test("needs nothing else: its watch list is filled over the socket, hostile names arrive, and a kill loses nothing", async () => {
    const program = spawnProgram(["run", "--embedded"], env);
    expect(await program.waitForLog("certwatch is watching")).toMatchObject({
      database: `embedded in ${dir}`,
      watch_entries: 0,
    });
    expect(program.lines.some(({ msg }) => msg.startsWith("the watch list is empty"))).toBe(true);
    if (tellsBlocking) expect(isOutputBlocking(program.pid)).toBe(true);
    const db = openPool(parseDsn(embeddedDsn(dir)), { maxConnections: 1 });
    await addWatchEntries(db, [watched], 10_000);
    await db.end();
    await program.waitForMetric("certwatch_watch_entries", (entries) => entries === 1);
    await program.waitForLog("connected to the feed");

    const names = [
      "nul\u0000.watched.example",
      "lone\ud800.watched.example",
      "validity.watched.example",
      "good.watched.example",
    ];
    for (const name of names)
      await simulator.sendRaw(
        messageOf([name], (leaf) => Object.assign(leaf, name.startsWith("v") && { not_before: 1e300 })),
      );
    for (const name of names) await receiver.waitFor(isFor(name.replace(/[\0\ud800]/, "\ufffd")));

    receiver.setBehaviour("hang");
    await simulator.publish(entryOf({ dnsNames: ["killed.watched.example"] }));
    await receiver.waitFor(isFor("killed.watched.example"));
    program.signal("SIGKILL");
    await program.exited;

    // The lease of the killed one is as good as over.
    receiver.setBehaviour(200);
    const next = spawnProgram(["run", "--embedded"], env);
    await next.waitForLog("certwatch is watching");
    const again = openPool(parseDsn(embeddedDsn(dir)), { maxConnections: 1 });
    const kept = await again.query(
      {
        name: byHand,
        text: "SELECT delivered FROM public.alerts WHERE sans ? $1",
        values: ["killed.watched.example"],
      },
      5_000,
    );
    expect(kept).toEqual([{ delivered: false }]);
    await again.execute(
      { name: byHand, text: "UPDATE public.alerts SET lease_until = now() WHERE NOT delivered" },
      5_000,
    );
    await again.end();
    await receiver.waitForCount(names.length + 2);
    expect(await next.stop()).toBe(0);
    expect(next.stderr).toBe("");
  });

  test("a second process on the same folder: status 3, and what to do", async () => {
    const program = spawnProgram(["run", "--embedded"], env);
    await program.waitForLog("certwatch is watching");
    const { status, stderr } = await runProgram(["run", "--embedded"], env);
    expect([status, stderr]).toEqual([3, expect.stringMatching(/in use by process \d+: .*DATA_DIR/)]);
    expect(await program.stop()).toBe(0);
  });

  test("a folder that cannot hold a socket: status 3, and the variable", async () => {
    const { status, stderr } = await runProgram(["run", "--embedded"], {
      ...env,
      DATA_DIR: join(dir, "x".repeat(120)),
    });
    expect([status, stderr]).toEqual([3, expect.stringMatching(/too deep.*DATA_DIR/)]);
  });
});
