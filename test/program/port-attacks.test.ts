import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { track } from "../support/children.ts";
import type { DatabaseSource } from "../support/postgres.ts";
import type { Program } from "../support/program.ts";
import { type Bed, entryOf, isFor, messageOf, openAnyDatabase, openBed } from "./bed.ts";

/** certstream-server-go keeps so many messages for a client, and drops what comes when they are used up. */
const bufferedMessages = 300;
const attackMs = 4_000;

const attackers = fileURLToPath(new URL("attack-port.mjs", import.meta.url));

/** The attacks that `attack-port.mjs` can make. */
const attacks = [
  "pipelined requests, answers read",
  "pipelined requests, answers left",
  "1,000 idle connections",
  "300 heads that never end",
  "connections that come and go",
  "connections that are reset",
  "bodies without end",
];

describe("while somebody attacks the HTTP port", () => {
  let databases: DatabaseSource;
  let bed: Bed;
  let program: Program;
  let sent = 0;
  beforeAll(async () => {
    databases = await openAnyDatabase();
    bed = await openBed(await databases.createDatabase());
    program = await bed.start();
  });
  afterAll(async () => {
    await bed?.close();
    await databases?.close();
  });

  /** Sends two messages each 5 ms, as the feed of all logs has; resolves with how many a real server would have dropped. */
  const feed = async (over: AbortSignal): Promise<number> => {
    const message = messageOf(["unwatched.example"], (leaf) => {
      leaf.as_der = Buffer.alloc(3_000, 1).toString("base64");
    });
    let dropped = 0;
    let unsent = 0;
    while (!over.aborted) {
      for (let i = 0; i < 2; i++) {
        if (unsent >= bufferedMessages) {
          dropped++;
          continue;
        }
        unsent++;
        sent++;
        void bed.simulator.sendRaw(message).then(() => unsent--);
      }
      await sleep(5);
    }
    return dropped;
  };

  /** Asks again and again, each time on a new connection; resolves with how long each answer took. */
  const probe = async (over: AbortSignal): Promise<number[]> => {
    const tookMs: number[] = [];
    while (!over.aborted) {
      const startMs = performance.now();
      const response = await fetch(`${program.apiUrl}/healthz`, { signal: AbortSignal.timeout(30_000) });
      expect(response.status).toBe(200);
      await response.arrayBuffer();
      tookMs.push(performance.now() - startMs);
      await sleep(100);
    }
    return tookMs;
  };

  test.each(attacks)("%s: no message is lost, every probe is answered", async (attack) => {
    const over = new AbortController();
    const attacker = track(spawn(process.execPath, [attackers, attack, new URL(program.apiUrl).port]));
    await once(attacker.stdout, "data");
    const watchedName = `${attack.replaceAll(/[^a-z0-9]+/g, "-")}.watched.example`;
    const [dropped, tookMs] = await Promise.all([
      feed(over.signal),
      probe(over.signal),
      sleep(attackMs)
        .then(() => bed.simulator.publish(entryOf({ dnsNames: [watchedName] })))
        .then(() => bed.receiver.waitFor(isFor(watchedName)))
        .finally(() => over.abort()),
    ]).finally(() => attacker.kill());
    sent++;
    expect(dropped).toBe(0);
    await program.waitForMetric(
      'certwatch_ct_messages_total{type="certificate_update"}',
      (value) => value === sent,
    );
    expect(tookMs.length).toBeGreaterThan(0);
    expect(Math.max(...tookMs)).toBeLessThan(10_000);
  });
});
