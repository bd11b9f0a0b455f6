import { expect, test } from "vitest";
import { createMetrics } from "../src/metrics.ts";
import { parseMetrics } from "./support/program.ts";

const scrape = async (metrics: ReturnType<typeof createMetrics>) => parseMetrics(await metrics.render());

test("every series with a closed label set is there at 0 from the start", async () => {
  const samples = await scrape(createMetrics({ version: "1.2.3", feeds: ["ws://a/", "ws://b/"] }));
  const expected = [
    ...["certificate_update", "heartbeat", "dns_entries", "other"].map(
      (type) => `ct_messages_total{type="${type}"}`,
    ),
    ...["too_large", "not_json", "not_an_object", "no_certificate", "internal_error"].map(
      (r) => `ct_messages_refused_total{reason="${r}"}`,
    ),
    ...["info", "suspicious"].map((severity) => `alerts_total{severity="${severity}"}`),
    ...["64k", "8k"].map((to) => `webhook_reduced_total{to="${to}"}`),
    ...["success", "failure"].map((result) => `webhook_total{result="${result}"}`),
    ...["0.05", "0.1", "0.25", "0.5", "1.0", "2.0", "5.0", "10.0", "30.0", "+Inf"].map(
      (le) => `webhook_duration_seconds_bucket{le="${le}"}`,
    ),
    "webhook_duration_seconds_count",
    "webhook_duration_seconds_sum",
    "watch_entries",
    "last_ct_event_timestamp_seconds",
    "ws_connected",
    "dedupe_cache_size",
    ...["ws://a/", "ws://b/"].flatMap((feed) => [
      `feed_connected{feed="${feed}"}`,
      `feed_reconnects_total{feed="${feed}"}`,
    ]),
    ...["retryable", "bad-data", "fatal"].map((kind) => `database_errors_total{kind="${kind}"}`),
    "ct_event_delay_seconds_count",
    "watch_refresh_timestamp_seconds",
    "watch_refresh_failures_total",
    "alerts_merged_total",
    "alerts_waiting",
    "alerts_dropped_total",
    "alerts_given_up_total",
    "alerts_pending",
    "alerts_undelivered",
    "alerts_given_up",
    "alerts_suspicious_last_hour",
  ];
  for (const series of expected) expect(samples.get(`certwatch_${series}`), series).toBe(0);
  expect(samples.get(`certwatch_build_info{version="1.2.3",node_version="${process.version}"}`)).toBe(1);
  expect(samples.get("process_cpu_seconds_total")).toBeGreaterThan(0);
});

test("what the receive path counts is in the next scrape, however many there are at once", async () => {
  const metrics = createMetrics({ version: "0", feeds: [] });
  metrics.feedCounts.messages.heartbeat = 3;
  metrics.feedCounts.refused.not_json = 2;
  metrics.feedCounts.lastCertificateUpdateMs = 1_761_918_776_520;
  for (const samples of await Promise.all([scrape(metrics), scrape(metrics), scrape(metrics)])) {
    expect(samples.get('certwatch_ct_messages_total{type="heartbeat"}')).toBe(3);
    expect(samples.get('certwatch_ct_messages_total{type="other"}')).toBe(0);
    expect(samples.get('certwatch_ct_messages_refused_total{reason="not_json"}')).toBe(2);
    expect(samples.get("certwatch_last_ct_event_timestamp_seconds")).toBe(1_761_918_776.52);
  }
  metrics.feedCounts.messages.heartbeat += 1;
  expect((await scrape(metrics)).get('certwatch_ct_messages_total{type="heartbeat"}')).toBe(4);
});

test("bounds of buckets are written as prometheus_client of Python writes them; other labels are left alone", async () => {
  const metrics = createMetrics({ version: "0", feeds: ['x_bucket{le="1"} 2\nx_bucket{le="1'] });
  metrics.databaseStatementDuration.observe({ statement: "judge certificates" }, 0.001);
  const text = await metrics.render();
  for (const series of [
    'certwatch_ct_event_delay_seconds_bucket{le="86400.0"} 0',
    'certwatch_database_statement_duration_seconds_bucket{le="0.001",statement="judge certificates"} 1',
    'certwatch_database_statement_duration_seconds_bucket{le="60.0",statement="judge certificates"} 1',
    'certwatch_database_statement_duration_seconds_bucket{le="+Inf",statement="judge certificates"} 1',
    'certwatch_feed_connected{feed="x_bucket{le=\\"1\\"} 2\\nx_bucket{le=\\"1"} 0',
  ]) {
    expect(text.split("\n")).toContain(series);
  }
  expect(text).not.toMatch(/ le="\d+"/);
});

test("two services in one process do not share anything", async () => {
  const [one, other] = [
    createMetrics({ version: "0", feeds: [] }),
    createMetrics({ version: "0", feeds: [] }),
  ];
  one.alertsDropped.inc();
  one.feedCounts.messages.other += 1;
  expect((await scrape(other)).get("certwatch_alerts_dropped_total")).toBe(0);
  expect((await scrape(other)).get('certwatch_ct_messages_total{type="other"}')).toBe(0);
});
