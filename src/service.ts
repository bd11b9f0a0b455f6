import { maskWebhookUrl } from "./config/mask.ts";
import type { Config } from "./config.ts";
import { createErrorLog } from "./db/error-log.ts";
import { errorMessage } from "./db/errors.ts";
import { observeDatabase } from "./db/observe.ts";
import { openDatabase } from "./db/open.ts";
import { waitUntilUsable } from "./db/wait-until-usable.ts";
import { silenceWarnings } from "./feed/pulse-reporter.ts";
import { type Health, startApi } from "./http.ts";
import type { Logger } from "./log.ts";
import { settledWithin } from "./loop.ts";
import { createMetrics } from "./metrics.ts";
import { createStages, isConnected, type Shared, type Stages } from "./service/stages.ts";
import { version } from "./version.ts";

// The pipeline. service/stages.ts makes its stages, in this order. This file starts and stops it.
//
//   certstream ──> FeedClient ──> Watcher ────> Recorder ─────> Judge ────> Deliverer ──> webhook
//                                    │              │            │  │           │
//                            WatchListRefresh       └────────────│──┴───────────┘
//                                    │                           │        │
//                         public.intent_current           public.certs  public.alerts (the outbox)
//
// Left of the Recorder nothing ever waits. Right of the Recorder every step is committed before the next step begins.

/** A running service. */
export interface Service {
  /** The address of `/healthz` and `/metrics`: `http://host:port`. */
  apiUrl: string;
  /**
   * Resolves with the exit status when the service has stopped, after {@link stop} or because it cannot go on: 1 if a
   * matched certificate could not be written to the database or if something failed for good, otherwise 0.
   */
  stopped: Promise<number>;
  /** Stops reading, commits matched certificates, lets running webhook attempts end. Calling it twice is safe. */
  stop(): void;
}

const databasePatienceMs = 60_000;
/** How long a stop waits for running webhook attempts to end. */
const stopPatienceMs = 10_000;
/** How long a stop waits after that for the outcomes of these attempts to be committed. */
const settlePatienceMs = 2_000;
/**
 * How long a stop tries to commit matched certificates. Docker kills ten seconds after SIGTERM: before that, the
 * certificates that could not be committed must be logged.
 */
const drainPatienceMs = 8_000;

/**
 * Starts the whole service. Resolves as soon as the feeds begin to connect.
 *
 * @param signal aborting this signal gives up the start.
 * @throws DatabaseUnusableError, EmbeddedError, or the error of the HTTP server. Then nothing is left running.
 */
export async function startService(config: Config, log: Logger, signal: AbortSignal): Promise<Service> {
  const releasers: (() => Promise<unknown>)[] = [];
  const releaseAll = async () => {
    for (const release of releasers.splice(0).reverse()) {
      await release().catch((error) =>
        log.error({ error: errorMessage(error) }, "closing failed at the end of the stop"),
      );
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
      metrics: metrics.render,
    });
    shared.onRelease(api.close);
    logStart(shared, stages, api.url);
    // From here on no step of the start can fail.
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
  const warnings = silenceWarnings(stages.watcher.pulse);
  return {
    ok: problems.length === 0,
    watch_entries: stages.refresh.current.size,
    last_ct_event_at: lastCertificateUpdateMs === 0 ? null : lastCertificateUpdateMs / 1000,
    ws_connected: isConnected(stages.feeds),
    database: databaseHealth.lastProblem ?? "ok",
    pending_alerts: stages.recorder.waiting,
    version,
    ...(problems.length > 0 ? { problems } : {}),
    ...(warnings.length > 0 ? { warnings } : {}),
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

/** Stops all stages and returns the exit status, see `Service.stopped`. */
async function shutDown(
  { log, database }: Shared,
  { feeds, recorder, judge, deliverer }: Stages,
  failure: Error | null,
  releaseAll: () => Promise<void>,
): Promise<number> {
  if (failure === null) log.info("stopping: certwatch reads nothing more, and records what has matched");
  else log.fatal({ error: errorMessage(failure) }, "certwatch cannot go on");
  await Promise.all(feeds.map((feed) => feed.stop()));
  // Judging and delivery stop while the recorder drains: supervisors often kill ten seconds after the signal.
  const judgingAndDelivery = Promise.all([judge.loop.stop(), deliverer?.stop(stopPatienceMs)]);
  const [lost] = await Promise.all([
    recorder.drain(drainPatienceMs),
    settledWithin(judgingAndDelivery, stopPatienceMs + settlePatienceMs),
  ]);
  // Do not wait for statements of judging or delivery that the database has not answered: any replica can do that work.
  await database.db.end();
  await releaseAll();
  log.info({ certificates_not_written: lost }, "stopped");
  return lost > 0 || failure !== null ? 1 : 0;
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}
