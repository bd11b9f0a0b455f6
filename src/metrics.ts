import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { createFeedCounts } from "./metrics/feed-counts.ts";

/** The kinds of database errors: the values of the label `kind` of `certwatch_database_errors_total`. */
const databaseErrorKinds = ["retryable", "bad-data", "fatal"] as const;

export type Metrics = ReturnType<typeof createMetrics>;

const prefix = "certwatch_";

/**
 * Declares every metric. Counters whose label values are known from the start begin at 0, so that `rate()` sees the
 * first event.
 */
export function createMetrics(options: { version: string; feeds: string[] }) {
  const registry = new Registry();
  const feedCounts = createFeedCounts(registry, prefix);
  const counter = <L extends string>(
    name: string,
    help: string,
    labels: Partial<Record<L, readonly string[]>>,
  ) => startedCounter(registry, name, help, labels);
  const gauge = (name: string, help: string) =>
    new Gauge({ name: prefix + name, help, registers: [registry] });

  const feedConnected = new Gauge({
    name: `${prefix}feed_connected`,
    help: "1 while the connection to this feed is open.",
    labelNames: ["feed"],
    registers: [registry],
  });
  for (const feed of options.feeds) feedConnected.set({ feed }, 0);
  new Gauge({
    name: `${prefix}build_info`,
    help: "1, with the version as label.",
    labelNames: ["version", "node_version"],
    registers: [registry],
  }).set({ version: options.version, node_version: process.version }, 1);
  collectDefaultMetrics({ register: registry });

  return {
    registry,
    render: () => render(registry),
    feedCounts,
    feedConnected,
    wsConnected: gauge("ws_connected", "1 while at least one feed is connected."),
    feedReconnects: counter("feed_reconnects_total", "Connections to a feed that were lost or refused.", {
      feed: options.feeds,
    }),
    logsSilent: gauge(
      "ct_logs_silent",
      "Logs that brought many entries and then none, while their feed brought others.",
    ),
    logsHeard: gauge("ct_logs_heard", "Logs that brought an entry within the last 24 hours."),
    eventDelay: new Histogram({
      name: `${prefix}ct_event_delay_seconds`,
      help: "Time from the log's timestamp of an entry to its arrival, for messages that were parsed (matches and a sample).",
      buckets: [1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400],
      registers: [registry],
    }),
    watchEntries: gauge("watch_entries", "Entries of the watch list."),
    watchRefreshed: gauge(
      "watch_refresh_timestamp_seconds",
      "When the watch list was last read, epoch seconds; 0 before the first time.",
    ),
    watchRefreshFailures: counter(
      "watch_refresh_failures_total",
      "Refreshes of the watch list that failed.",
      {},
    ),
    dedupeCacheSize: gauge("dedupe_cache_size", "Certificates remembered in memory as recorded."),
    alerts: counter("alerts_total", "Events, by severity.", { severity: ["info", "suspicious"] }),
    alertsMerged: counter(
      "alerts_merged_total",
      "Certificates that made no event, because their issuance has an event with the same verdict.",
      {},
    ),
    contradictions: counter(
      "ct_contradictions_total",
      "Messages whose JSON contradicts the DER of the certificate.",
      {},
    ),
    alertsWaiting: gauge("alerts_waiting", "Matched certificates in memory, waiting to be recorded."),
    alertsDropped: counter(
      "alerts_dropped_total",
      "Matched certificates that could not be recorded; each is logged whole.",
      {},
    ),
    alertsGivenUp: counter("alerts_given_up_total", "Alerts whose delivery was given up.", {}),
    webhook: counter("webhook_total", "Attempts to deliver an alert.", { result: ["success", "failure"] }),
    webhookReduced: counter(
      "webhook_reduced_total",
      "Attempts with an alert that was cut, because the receiver refuses larger ones.",
      { to: ["64k", "8k"] },
    ),
    webhookDuration: new Histogram({
      name: `${prefix}webhook_duration_seconds`,
      help: "Duration of an attempt.",
      buckets: [0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30],
      registers: [registry],
    }),
    databaseErrors: counter("database_errors_total", "Failed database operations.", {
      kind: databaseErrorKinds,
    }),
    databaseStatementErrors: new Counter({
      name: `${prefix}database_statement_errors_total`,
      help: "Failed database operations, by the statement that failed.",
      labelNames: ["statement"],
      registers: [registry],
    }),
    databaseStatementDuration: new Histogram({
      name: `${prefix}database_statement_duration_seconds`,
      help: "From asking for a connection to the answer or the error, by statement.",
      labelNames: ["statement"],
      buckets: [0.001, 0.005, 0.025, 0.1, 0.5, 2, 10, 60],
      registers: [registry],
    }),
    storedPending: gauge("alerts_pending", "Rows of the table alerts in their grace."),
    storedUndelivered: gauge("alerts_undelivered", "Rows of the table alerts that wait for their delivery."),
    storedGivenUp: gauge("alerts_given_up", "Rows of the table alerts whose delivery was given up."),
    storedSuspiciousLastHour: gauge(
      "alerts_suspicious_last_hour",
      "Suspicious events in the table alerts, recorded within the last hour.",
    ),
  };
}

function startedCounter<L extends string>(
  registry: Registry,
  name: string,
  help: string,
  labels: Partial<Record<L, readonly string[]>>,
): Counter<L> {
  const labelNames = Object.keys(labels) as L[];
  const counter = new Counter<L>({ name: prefix + name, help, labelNames, registers: [registry] });
  for (const label of labelNames) {
    for (const value of labels[label] ?? []) counter.inc({ [label]: value } as Record<L, string>, 0);
  }
  return counter;
}

/**
 * The text exposition of all metrics. The bounds of buckets are written as prometheus_client of Python writes them
 * (`le="1.0"`), where prom-client writes `le="1"`: existing queries name them so.
 */
async function render(registry: Registry): Promise<string> {
  return (await registry.metrics()).replace(/^(\w+_bucket\{le="\d+)(?=")/gm, "$1.0");
}
