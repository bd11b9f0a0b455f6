import { spawnSync } from "node:child_process";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { addToInventory } from "../../src/demo/upstream.ts";
import { version } from "../../src/version.ts";
import { byHand } from "../support/by-hand.ts";
import { endPrograms, runProgram } from "../support/program.ts";
import { describeIfAvailable, missing } from "../support/skip.ts";
import { type Bed, entryOf, isFor, openAnyDatabase, openBedOn } from "./bed.ts";

describe("the HTTP API of the service", () => {
  let bed: Bed;
  beforeAll(async () => {
    bed = await openBedOn(openAnyDatabase);
  });
  afterEach(endPrograms);
  afterAll(() => bed?.close());

  test("every metric of the contract is there at 0 from the start, and moves as its name says", async () => {
    const program = await bed.start();
    const feed = `feed="ws://***@127.0.0.1:${bed.simulator.port}/full-stream?***"`;
    const counted = [
      'ct_messages_total{type="certificate_update"}',
      'ct_messages_total{type="heartbeat"}',
      'ct_messages_total{type="dns_entries"}',
      'ct_messages_total{type="other"}',
      'alerts_total{severity="info"}',
      'alerts_total{severity="suspicious"}',
      'webhook_total{result="success"}',
      'webhook_total{result="failure"}',
      "webhook_duration_seconds_count",
      "last_ct_event_timestamp_seconds",
      "dedupe_cache_size",
      `feed_reconnects_total{${feed}}`,
      'ct_messages_refused_total{reason="not_json"}',
      "ct_event_delay_seconds_count",
      "alerts_merged_total",
      "alerts_waiting",
      "alerts_dropped_total",
      "alerts_given_up_total",
      "watch_refresh_failures_total",
      'database_errors_total{kind="retryable"}',
      'database_statement_errors_total{statement="judge certificates"}',
      'database_statement_duration_seconds_count{statement="judge certificates"}',
    ].map((series) => `certwatch_${series}`);
    const first = await program.metrics();
    for (const series of counted) expect(first.get(series), series).toBe(0);
    expect(first.get("certwatch_watch_entries")).toBe(1);
    expect(first.get("certwatch_ws_connected")).toBe(1);
    expect(first.get("certwatch_watch_refresh_timestamp_seconds")).toBeGreaterThan(1_700_000_000);
    expect(first.get(`certwatch_build_info{version="${version}",node_version="${process.version}"}`)).toBe(1);
    const idle = await fetch(`${program.apiUrl}/healthz`);
    expect([idle.status, await idle.json()]).toEqual([
      200,
      {
        ok: true,
        watch_entries: 1,
        last_ct_event_at: null,
        ws_connected: true,
        database: "ok",
        pending_alerts: 0,
        version,
      },
    ]);

    // One unknown, whose first delivery fails, and one of our own; precertificate and final of the unknown make one event.
    const known = entryOf({ dnsNames: ["known.watched.example"] });
    await addToInventory(bed.db, [known.issuance], "test");
    bed.receiver.setBehaviour((_delivery, count) => (count === 1 ? 500 : 200));
    const unknown = entryOf({ dnsNames: ["unknown.watched.example"] }, "PrecertLogEntry");
    await bed.simulator.publish(unknown);
    await bed.receiver.waitFor(isFor("unknown.watched.example"));
    await bed.simulator.publish({ ...unknown, kind: "X509LogEntry" }, known, known);
    await bed.receiver.waitFor(isFor("known.watched.example"));
    await bed.receiver.waitForCount(3);
    await bed.simulator.sendRaw('{"message_type":"heartbeat"}');
    await bed.simulator.sendRaw("{}");
    await bed.simulator.sendRaw("{");
    await program.waitForMetric(
      'certwatch_ct_messages_refused_total{reason="not_json"}',
      (value) => value === 1,
    );
    await program.waitForMetric('certwatch_webhook_total{result="success"}', (value) => value === 2);
    await program.waitForMetric("certwatch_alerts_merged_total", (value) => value === 1);

    const metrics = await program.metrics();
    const values = Object.fromEntries(
      counted.map((series) => [series.replace("certwatch_", ""), metrics.get(series)]),
    );
    expect(values).toMatchObject({
      'ct_messages_total{type="certificate_update"}': 4,
      'ct_messages_total{type="heartbeat"}': 1,
      'ct_messages_total{type="dns_entries"}': 0,
      'ct_messages_total{type="other"}': 1,
      'alerts_total{severity="info"}': 1,
      'alerts_total{severity="suspicious"}': 1,
      'webhook_total{result="success"}': 2,
      'webhook_total{result="failure"}': 1,
      webhook_duration_seconds_count: 3,
      dedupe_cache_size: 3,
      ct_event_delay_seconds_count: 4,
      alerts_merged_total: 1,
      alerts_waiting: 0,
      alerts_dropped_total: 0,
      alerts_given_up_total: 0,
      'database_statement_errors_total{statement="judge certificates"}': 0,
    });
    const judgements = 'database_statement_duration_seconds_count{statement="judge certificates"}';
    expect(values[judgements]).toBeGreaterThan(0);
    const health = (await (await fetch(`${program.apiUrl}/healthz`)).json()) as { last_ct_event_at: number };
    expect(health.last_ct_event_at).toBe(metrics.get("certwatch_last_ct_event_timestamp_seconds"));
    expect(Math.abs(health.last_ct_event_at - Date.now() / 1000)).toBeLessThan(600);
    expect(await program.stop()).toBe(0);
  });

  test("an alert whose attempts are used up is counted, logged once, and stays in the table", async () => {
    const name = "refused.watched.example";
    bed.receiver.setBehaviour(410);
    const program = await bed.start({ WEBHOOK_MAX_ATTEMPTS: "1" });
    await bed.simulator.publish(entryOf({ dnsNames: [name] }));
    await program.waitForMetric("certwatch_alerts_given_up_total", (value) => value === 1);
    await program.waitForLog("delivery given up");
    bed.receiver.setBehaviour(200);
    const lines = program.lines.filter(({ msg }) => msg.startsWith("delivery given up"));
    expect(lines).toMatchObject([
      { level: "error", error: "the receiver answered 410", matched_entries: ["watched.example"] },
    ]);
    const rows = await bed.db.query(
      {
        name: byHand,
        text: "SELECT delivered, last_error FROM public.alerts WHERE sans ? $1",
        values: [name],
      },
      5_000,
    );
    expect(rows).toEqual([{ delivered: false, last_error: "the receiver answered 410" }]);
    expect(await program.stop()).toBe(0);
  });

  test("HEAD, other paths, other methods; API_HOST", async () => {
    const program = await bed.start({ API_HOST: "localhost" });
    const status = async (path: string, method: string) =>
      (await fetch(program.apiUrl + path, { method })).status;
    expect(await status("/healthz", "HEAD")).toBe(200);
    expect(await status("/metrics", "HEAD")).toBe(200);
    expect(await status("/metrics", "POST")).toBe(405);
    expect(await status("/", "GET")).toBe(404);
    expect(await program.stop()).toBe(0);
  });

  describeIfAvailable("promtool", missing("promtool"), () => {
    test("has nothing to say about /metrics but on three names that are prom-client's", async () => {
      const program = await bed.start();
      const input = await (await fetch(`${program.apiUrl}/metrics`)).text();
      const { error, stdout, stderr } = spawnSync("promtool", ["check", "metrics"], {
        input,
        encoding: "utf8",
      });
      const complaints = (stdout + stderr).split("\n").filter((line) => line !== "");
      expect(error).toBeUndefined();
      expect(
        complaints.filter((line) => !/^nodejs_active_(handles|requests|resources)_total /.test(line)),
      ).toEqual([]);
      expect(await program.stop()).toBe(0);
    });
  });
});

test.each(["--version", "--help"])("%s: status 0", async (flag) => {
  const { status, output } = await runProgram([flag], {});
  expect([status, output]).toEqual([
    0,
    expect.stringMatching(flag === "--version" ? /^\d+\.\d+\.\d+\n$/ : /run .*\n.*migrate/s),
  ]);
});
