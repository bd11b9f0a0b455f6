import { maskWebhookUrl } from "./config/mask.ts";
import type { Config } from "./config.ts";
import { createErrorLog } from "./db/error-log.ts";
import { errorMessage } from "./db/errors.ts";
import { observeDatabase } from "./db/observe.ts";
import { openDatabase } from "./db/open.ts";
import { waitUntilUsable } from "./db/wait-until-usable.ts";
import { type Health, startApi } from "./http.ts";
import type { Logger } from "./log.ts";
import { settledWithin } from "./loop.ts";
import { createMetrics } from "./metrics.ts";
import { createStages, isConnected, type Shared, type Stages } from "./service/stages.ts";
import { version } from "./version.ts";

// The pipeline. Its stages are made in service/stages.ts, in this order. Here: how it starts and how it stops.
//
//   certstream ──> FeedClient ──> Watcher ────> Recorder ─────> Judge ────> Deliverer ──> webhook
//                                    │              │            │  │           │
//                            WatchListRefresh       └────────────│──┴───────────┘
//                                    │                           │        │
//                         public.intent_current           public.certs  public.alerts (the outbox)
//
// Left of the Recorder nothing ever waits. Right of it every step is committed before the next one begins.

/** A running service. */
export interface Service {
  /** Where `/healthz` and `/metrics` are served: `http://host:port`. */
  apiUrl: string;
  /**
   * Resolves with the exit status when the service has stopped, by {@link stop} or because it cannot go on: 0, or 1
   * where a matched certificate could not be written or something failed for good.
   */
  stopped: Promise<number>;
  /** Stops reading, writes down what was matched, lets running attempts end. Can be called again. */
  stop(): void;
}

const databasePatienceMs = 60_000;
/** How long a stop waits for running webhook attempts. */
const stopPatienceMs = 10_000;
/** How long a stop then waits for their outcomes to be committed. */
const settlePatienceMs = 2_000;
/**
 * How long a stop tries to commit matched certificates. Docker kills ten seconds after SIGTERM: by then those that could
 * not be written have to be in the log.
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
  const stop = new AbortController();
  let failure: Error | null = null;
  try {
    const database = await openDatabase(config, (error) => {
      failure = error;
      stop.abort();
    });
    releasers.push(database.close);
    for (const warning of database.warnings) log.warn(`POSTGRES_DSN: ${warning}`);
    await waitUntilUsable(database.db, { patienceMs: databasePatienceMs, log, signal });

    const metrics = createMetrics({ version, feeds: config.feeds.map(({ name }) => name) });
    const { db, health: databaseHealth } = observeDatabase(database.db, metrics);
    const shared: Shared = {
      config,
      log,
      metrics,
      db,
      database,
      databaseHealth,
      graceSeconds: config.suspiciousGraceSeconds,
      deliver: config.webhook !== null,
      stop,
      onError: (concern) => createErrorLog(log, concern, stop.signal),
      loops: [],
      onRelease: (release) => releasers.push(release),
    };
    const stages = await createStages(shared);
    const api = await startApi({
      host: config.apiHost,
      port: config.apiPort,
      health: () => healthOf(shared, stages),
      registry: metrics.registry,
    });
    shared.onRelease(api.close);
    logStart(shared, stages, api.url);
    // Nothing can fail any more.
    for (const loop of shared.loops) loop.start();
    for (const feed of stages.feeds) feed.start();
    return {
      apiUrl: api.url,
      stopped: aborted(stop.signal).then(() => shutDown(shared, stages, failure, releaseAll)),
      stop: () => stop.abort(),
    };
  } catch (error) {
    await releaseAll();
    throw error;
  }
}

function healthOf({ loops, stop, metrics, databaseHealth }: Shared, stages: Stages): Health {
  const problems = loops.map((loop) => loop.problem()).filter((problem) => problem !== null);
  if (stop.signal.aborted) problems.push("stopping");
  const { lastCertificateUpdateMs } = metrics.feedCounts;
  return {
    ok: problems.length === 0,
    watch_entries: stages.refresh.current.size,
    last_ct_event_at: lastCertificateUpdateMs === 0 ? null : lastCertificateUpdateMs / 1000,
    ws_connected: isConnected(stages.feeds),
    database: databaseHealth.lastProblem ?? "ok",
    pending_alerts: stages.recorder.waiting,
    version,
    ...(problems.length > 0 ? { problems } : {}),
  };
}

function logStart({ config, database, log }: Shared, { refresh }: Stages, apiUrl: string): void {
  log.info(
    {
      version,
      watch_entries: refresh.current.size,
      feeds: config.feeds.map(({ name }) => name),
      database: database.description,
      webhook: config.webhook === null ? null : maskWebhookUrl(config.webhook.url),
      api: apiUrl,
    },
    config.webhook === null
      ? "certwatch is watching, in observer mode: without WEBHOOK_URL alerts are recorded and logged only"
      : "certwatch is watching",
  );
}

/** @returns the exit status. */
async function shutDown(
  { log, database }: Shared,
  { feeds, recorder, judge, deliverer }: Stages,
  failure: Error | null,
  releaseAll: () => Promise<void>,
): Promise<number> {
  if (failure === null) log.info("stopping: reading no more, writing down what was matched");
  else log.fatal({ error: errorMessage(failure) }, "certwatch cannot go on");
  await Promise.all(feeds.map((feed) => feed.stop()));
  // Side by side: whoever sends the signal often waits for no more than ten seconds.
  const judgingAndDelivery = Promise.all([judge.loop.stop(), deliverer?.stop(stopPatienceMs)]);
  const [lost] = await Promise.all([
    recorder.drain(drainPatienceMs),
    settledWithin(judgingAndDelivery, stopPatienceMs + settlePatienceMs),
  ]);
  // A statement that still waits for the database need not be waited for: any replica can do that work.
  await database.db.end();
  await releaseAll();
  log.info({ certificates_not_written: lost }, "stopped");
  return lost > 0 || failure !== null ? 1 : 0;
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}
