import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { LogEntry } from "../../src/demo/log-entry.ts";
import { type Bed, entryOf, openAnyDatabase, openBedOn } from "./bed.ts";

const fastClock = fileURLToPath(new URL("../support/fast-clock.mjs", import.meta.url));

describe("a log that the server follows no longer", () => {
  let bed: Bed;
  beforeAll(async () => {
    bed = await openBedOn(openAnyDatabase);
  });
  afterAll(() => bed?.close());

  const entriesOf = (name: string, count: number): LogEntry[] => {
    const log = { name, url: `https://${name}.example/log`, type: "rfc6962" as const };
    return Array.from({ length: count }, () => ({ ...entryOf({ dnsNames: ["a.example"] }), log }));
  };

  test("is told in the log, in /healthz and in /metrics, until it speaks again", async () => {
    const program = await bed.start({ NODE_OPTIONS: `--import ${fastClock}` });
    const health = async () => {
      const response = await fetch(`${program.apiUrl}/healthz`);
      return [response.status, await response.json()];
    };
    let isOver = false;
    const lively = (async () => {
      while (!isOver) {
        await bed.simulator.publish(...entriesOf("lively", 1));
        await sleep(1);
      }
    })();
    try {
      await bed.simulator.publish(...entriesOf("dead", 1_000));
      const line = await program.waitForLog("has fallen silent");
      expect(line).toMatchObject({ level: "warn", log_url: "dead.example/log", entries_in_24h: 1_000 });
      expect(await health()).toMatchObject([
        200,
        { ok: true, warnings: [`the CT log dead.example/log is silent since ${line.last_entry_at}`] },
      ]);
      const metrics = await program.metrics();
      expect(metrics.get("certwatch_ct_logs_silent")).toBe(1);
      expect(metrics.get("certwatch_ct_logs_heard")).toBeGreaterThan(0);
      const last = (log: string) =>
        metrics.get(`certwatch_ct_log_last_entry_timestamp_seconds{log="${log}.example/log"}`)!;
      expect(last("dead")).toBe(Date.parse(line.last_entry_at as string) / 1000);
      expect(last("lively")).toBeGreaterThan(last("dead"));

      await bed.simulator.publish(...entriesOf("dead", 1));
      await program.waitForLog("speaks again");
      expect((await health())[1]).not.toHaveProperty("warnings");
      await program.waitForMetric("certwatch_ct_logs_silent", (silent) => silent === 0);
    } finally {
      isOver = true;
      await lively;
    }
    expect(await program.stop()).toBe(0);
  });
});
