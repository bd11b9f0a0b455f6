import { Deliverer } from "./alerts/deliver.ts";
import { createAlertGauges } from "./alerts/gauges.ts";
import { concurrency } from "./alerts/held-events.ts";
import { Judge } from "./alerts/judge.ts";
import { createPruner } from "./alerts/prune.ts";
import { Recorder } from "./alerts/record.ts";
import { WebhookSender } from "./alerts/webhook.ts";
import { type Config, maskWebhookUrl } from "./config.ts";
import { errorKind, errorMessage } from "./db/errors.ts";
import { observeDatabase } from "./db/observe.ts";
import { DatabaseUnusableError, openDatabase, waitUntilUsable } from "./db/open.ts";
import { FeedClient } from "./feed/client.ts";
import { createGapReporter } from "./feed/gap-reporter.ts";
import { Watcher } from "./feed/watcher.ts";
import { type Health, startApi } from "./http.ts";
import { inventoryGaps } from "./inventory/gaps.ts";
import { type Logger, RateLimitedLog } from "./log.ts";
import { type Loop, settledWithin } from "./loop.ts";
import { createMetrics } from "./metrics.ts";
import { version } from "./version.ts";
import { WatchListRefresh } from "./watchlist/refresh.ts";

// The pipeline. It is wired below from its end to its beginning, each stage before the one that feeds it.
//
//   certstream ──> FeedClient ──> Watcher ────> Recorder ───> Judge ──> Deliverer ──> webhook
//                                    │              │             │  │           │
//                            WatchListRefresh       └─────────────│──┴───────────┘
//                                    │                            │        │
//                         public.intent_current            public.certs  public.alerts (the outbox)
//
// Left of the Recorder nothing ever waits. Right of it every step is committed before the next one begins.

/** A running service. */
export interface Service {
  /** Of `/healthz` and `/metrics`. */
  apiUrl: string;
  /**
   * Resolves with the exit status when the service has stopped, by {@link stop} or because it cannot go on: 0, or 1
   * where a matched certificate could not be written or something failed for good.
   */
  stopped: Promise<number>;
  /** Stops reading, writes down what was matched, lets attempts under way end. Can be called again. */
  stop(): void;
}

const databasePatienceMs = 60_000;
const startDeadlineMs = 10_000;
/** For running attempts to end. */
const stopPatienceMs = 10_000;
/** For their outcomes to be committed. */
const settlePatienceMs = 2_000;
/**
 * For matched certificates to be committed. Docker kills ten seconds after SIGTERM: by then those that could not be
 * written have to be in the log.
 */
const drainPatienceMs = 8_000;

/**
 * Starts everything; resolves when the feeds are being connected to.
 *
 * @param signal aborted when the start itself is to be given up.
 * @throws DatabaseUnusableError, EmbeddedError, or what the HTTP server fails with. Nothing is left running then.
 */
export async function startService(config: Config, log: Logger, signal: AbortSignal): Promise<Service> {
  const releasers: (() => Promise<unknown>)[] = [];
  const releaseAll = async () => {
    for (const release of releasers.splice(0).reverse()) {
      await release().catch((error) => log.error({ error: errorMessage(error) }, "could not be closed"));
    }
  };
  try {
    return await wire(config, log, signal, (release) => releasers.push(release), releaseAll);
  } catch (error) {
    await releaseAll();
    throw error;
  }
}

async function wire(
  config: Config,
  log: Logger,
  signal: AbortSignal,
  onRelease: (release: () => Promise<unknown>) => void,
  releaseAll: () => Promise<void>,
): Promise<Service> {
  const stop = new AbortController();
  let failure: Error | null = null;
  const metrics = createMetrics({ version, feeds: config.feeds.map(({ name }) => name) });
  const database = await openDatabase(config, (error) => {
    failure = error;
    stop.abort();
  });
  onRelease(database.close);
  for (const warning of database.warnings) log.warn(`POSTGRES_DSN: ${warning}`);
  await waitUntilUsable(database.db, { patienceMs: databasePatienceMs, log, signal });
  const { db, health: databaseHealth } = observeDatabase(database.db, metrics);

  const loops: Loop[] = [];
  /** Loops start when nothing can fail any more. */
  const add = (loop: Loop) => {
    loops.push(loop);
    onRelease(() => loop.stop());
  };
  const onError = (concern: string) => errorLog(log, concern, stop.signal);
  const shared = {
    db,
    log,
    metrics,
    graceSeconds: config.suspiciousGraceSeconds,
    deliver: config.webhook !== null,
  };

  let deliverer: Deliverer | null = null;
  if (config.webhook !== null) {
    const sender = new WebhookSender(config.webhook, { version, connections: concurrency });
    onRelease(() => sender.close());
    const { timeoutSeconds, maxAttempts } = config.webhook;
    deliverer = new Deliverer({
      ...shared,
      sender,
      timeoutSeconds,
      maxAttempts,
      onError: onError("delivery"),
    });
    add(deliverer.settling);
    add(deliverer.claiming);
  }
  const { precertMatch } = config;
  const judge = new Judge({
    ...shared,
    precertMatch,
    deliverer,
    onError: onError("judging"),
  });
  add(judge.loop);
  const recorder = new Recorder({
    ...shared,
    lostSessions: () => database.db.lostSessions,
    onRecorded: (certificates) => judge.firstLook(certificates),
    onError: onError("recording"),
  });
  add(recorder.loop);
  const refresh = new WatchListRefresh({
    ...shared,
    intervalSeconds: config.watchRefreshIntervalSeconds,
    onError: onError("watch list refresh"),
  });
  await refresh.refresh().catch((error) => {
    throw new DatabaseUnusableError(
      `the watch list cannot be read from public.intent_current: ${errorMessage(error)}`,
    );
  });
  add(refresh.loop);
  const gaps = await inventoryGaps(db, startDeadlineMs).catch((error) => {
    throw new DatabaseUnusableError(
      `the database cannot be asked about public.certs: ${errorMessage(error)}`,
    );
  });
  for (const gap of gaps) log.warn(gap);
  const watcher = new Watcher({
    ...shared,
    watchList: () => refresh.current,
    onMatch: (update, match) => recorder.add(update, match),
  });
  add(createGapReporter({ ...shared, gaps: watcher.gaps }));
  const isConnected = () => feeds.some((feed) => feed.state === "open");
  const feeds = config.feeds.map(
    ({ url, name }) =>
      new FeedClient({
        ...shared,
        url,
        name,
        userAgent: `certwatch/${version}`,
        maxMessageBytes: config.feedMaxMessageBytes,
        idleTimeoutSeconds: config.feedIdleTimeoutSeconds,
        onMessage: (message) => watcher.receive(message),
        onStateChange: () => metrics.wsConnected.set(isConnected() ? 1 : 0),
      }),
  );
  add(
    createPruner({
      ...shared,
      intervalSeconds: config.cleanupIntervalSeconds,
      retentionSeconds: config.alertRetentionSeconds,
      onError: onError("cleanup"),
    }),
  );
  add(createAlertGauges({ ...shared, onError: onError("alert gauges") }));

  const health = (): Health => {
    const problems = loops.map((loop) => loop.problem()).filter((problem) => problem !== null);
    if (stop.signal.aborted) problems.push("stopping");
    const { lastCertificateUpdateMs } = metrics.feedCounts;
    return {
      ok: problems.length === 0,
      watch_entries: refresh.current.size,
      last_ct_event_at: lastCertificateUpdateMs === 0 ? null : lastCertificateUpdateMs / 1000,
      ws_connected: isConnected(),
      database: databaseHealth.lastProblem ?? "ok",
      pending_alerts: recorder.waiting,
      version,
      ...(problems.length > 0 ? { problems } : {}),
    };
  };
  const api = await startApi({
    host: config.apiHost,
    port: config.apiPort,
    health,
    registry: metrics.registry,
  });
  onRelease(api.close);

  log.info(
    {
      version,
      watch_entries: refresh.current.size,
      feeds: config.feeds.map(({ name }) => name),
      database: database.description,
      webhook: config.webhook === null ? null : maskWebhookUrl(config.webhook.url),
      api: api.url,
    },
    config.webhook === null
      ? "certwatch is watching, in observer mode: without WEBHOOK_URL alerts are recorded and logged only"
      : "certwatch is watching",
  );
  for (const loop of loops) loop.start();
  for (const feed of feeds) feed.start();

  const shutDown = async (): Promise<number> => {
    if (failure === null) log.info("stopping: reading no more, writing down what was matched");
    else log.fatal({ error: errorMessage(failure) }, "certwatch cannot go on");
    await Promise.all(feeds.map((feed) => feed.stop()));
    // Side by side: whoever sends the signal often waits for no more than ten seconds.
    const judgingAndDelivery = Promise.all([judge.loop.stop(), deliverer?.stop(stopPatienceMs)]);
    const [lost] = await Promise.all([
      recorder.drain(drainPatienceMs),
      settledWithin(judgingAndDelivery, stopPatienceMs + settlePatienceMs),
    ]);
    // What is still waiting for a database that does not answer need not be waited for: it can be done by any replica.
    await database.db.end();
    await releaseAll();
    log.info({ certificates_not_written: lost }, "stopped");
    return lost > 0 || failure !== null ? 1 : 0;
  };
  return { apiUrl: api.url, stopped: aborted(stop.signal).then(shutDown), stop: () => stop.abort() };
}

/** Logs what a concern fails with, at most once a minute for each kind; the concern itself tries again. */
function errorLog(log: Logger, concern: string, stop: AbortSignal): (error: unknown) => void {
  const quietLog = new RateLimitedLog();
  return (error) => {
    const kind = errorKind(error);
    const fields = { concern, kind, error: errorMessage(error) };
    if (stop.aborted) log.warn(fields, "failed while stopping");
    else
      quietLog.once(kind, (suppressed) => {
        log.error({ ...fields, suppressed }, `${concern} failed, will try again`);
      });
  };
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}
