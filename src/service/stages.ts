import { Deliverer } from "../alerts/deliver.ts";
import { createAlertGauges } from "../alerts/gauges.ts";
import { concurrency } from "../alerts/held-events.ts";
import { Judge } from "../alerts/judge.ts";
import { createPruner } from "../alerts/prune.ts";
import { Recorder } from "../alerts/record.ts";
import { createSecondLook } from "../alerts/second-look.ts";
import { WebhookSender } from "../alerts/webhook.ts";
import type { Config } from "../config.ts";
import { errorMessage } from "../db/errors.ts";
import type { DatabaseHealth } from "../db/observe.ts";
import { DatabaseUnusableError, type OpenDatabase } from "../db/open.ts";
import type { Database, SessionPool } from "../db/pool.ts";
import { FeedClient } from "../feed/client.ts";
import { createGapReporter } from "../feed/gap-reporter.ts";
import { createPulseReporter } from "../feed/pulse-reporter.ts";
import { Watcher } from "../feed/watcher.ts";
import { checkInventoryTable } from "../inventory/table-check.ts";
import type { Logger } from "../log.ts";
import type { Loop } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import { version } from "../version.ts";
import { matchNames } from "../watchlist/matcher.ts";
import { WatchListRefresh } from "../watchlist/refresh.ts";

// The stages of the pipeline. service.ts shows the pipeline as a picture; the functions below follow its order.

const startDeadlineMs = 10_000;

/** The parts that all stages of one running service share. */
export interface Shared {
  readonly config: Config;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly db: Database;
  readonly database: OpenDatabase<SessionPool>;
  readonly databaseHealth: DatabaseHealth;
  readonly graceSeconds: number;
  /** False in observer mode. */
  readonly deliver: boolean;
  readonly stop: AbortController;
  /** Makes the error handler of one stage. The handler logs the error; the stage tries again by itself. */
  readonly onError: (concern: string) => (error: unknown) => void;
  /** All loops, in the order in which they start and in which `/healthz` lists their problems. */
  readonly loops: Loop[];
  /** Registers a function to call when the service ends; the function registered last is called first. */
  readonly onRelease: (release: () => Promise<unknown>) => void;
}

export type Stages = Awaited<ReturnType<typeof createStages>>;

/** Makes the stages from the last to the first, because each stage needs the stage that follows it. */
export async function createStages(shared: Shared) {
  const deliverer = createDeliverer(shared);
  const judge = createJudge(shared, deliverer);
  const refresh = await createRefresh(shared);
  const recorder = createRecorder(shared, refresh, judge);
  await warnOfInventoryTable(shared);
  const watcher = createWatcher(shared, refresh, recorder);
  const feeds = createFeeds(shared, watcher);
  addCaretakers(shared, deliverer);
  return { feeds, watcher, refresh, recorder, judge, deliverer };
}

function addLoop({ loops, onRelease }: Shared, loop: Loop): void {
  loops.push(loop);
  onRelease(() => loop.stop());
}

function createFeeds(shared: Shared, watcher: Watcher): FeedClient[] {
  const { config, metrics } = shared;
  const feeds: FeedClient[] = config.feeds.map(
    (feed, place) =>
      new FeedClient({
        ...shared,
        ...feed,
        userAgent: `certwatch/${version}`,
        maxMessageBytes: config.feedMaxMessageBytes,
        idleTimeoutSeconds: config.feedIdleTimeoutSeconds,
        onMessage: (message) => watcher.receive(message, place),
        onStateChange: () => metrics.wsConnected.set(isConnected(feeds) ? 1 : 0),
      }),
  );
  return feeds;
}

export const isConnected = (feeds: FeedClient[]) => feeds.some((feed) => feed.state === "open");

function createWatcher(shared: Shared, refresh: WatchListRefresh, recorder: Recorder): Watcher {
  const watcher = new Watcher({
    ...shared,
    feeds: shared.config.feeds.map(({ name }) => name),
    watchList: () => refresh.current,
    onMatch: (update, match) => recorder.add(update, match),
  });
  addLoop(shared, createGapReporter({ ...shared, gaps: watcher.gaps }));
  addLoop(shared, createPulseReporter({ ...shared, pulse: watcher.pulse }));
  return watcher;
}

/** Reads the watch list once before it is used for matching, and adds the loop that refreshes it. */
async function createRefresh(shared: Shared): Promise<WatchListRefresh> {
  const refresh = new WatchListRefresh({
    ...shared,
    intervalSeconds: shared.config.watchRefreshIntervalSeconds,
    onError: shared.onError("watch list refresh"),
  });
  await refresh.refresh().catch((error) => {
    throw new DatabaseUnusableError(
      `the watch list cannot be read from public.intent_current: ${errorMessage(error)}`,
    );
  });
  addLoop(shared, refresh.loop);
  return refresh;
}

function createRecorder(shared: Shared, refresh: WatchListRefresh, judge: Judge): Recorder {
  const recorder = new Recorder({
    ...shared,
    match: (names) => matchNames(names, refresh.current),
    lostSessions: () => shared.database.db.lostSessions,
    onRecorded: (certificates) => judge.firstLook(certificates),
    onError: shared.onError("recording"),
  });
  addLoop(shared, recorder.loop);
  return recorder;
}

function createJudge(shared: Shared, deliverer: Deliverer | null): Judge {
  const { precertMatch } = shared.config;
  const judge = new Judge({ ...shared, precertMatch, deliverer, onError: shared.onError("judging") });
  addLoop(shared, judge.loop);
  return judge;
}

/** Warns if `public.certs` lacks a column or an index for recognising certificates. The warning names the remedy. */
async function warnOfInventoryTable({ db, log }: Shared): Promise<void> {
  const problems = await checkInventoryTable(db, startDeadlineMs).catch((error) => {
    throw new DatabaseUnusableError(
      `the database cannot be asked about public.certs: ${errorMessage(error)}`,
    );
  });
  for (const problem of problems) log.warn(problem);
}

/** Returns `null` in observer mode. */
function createDeliverer(shared: Shared): Deliverer | null {
  const { webhook } = shared.config;
  if (webhook === null) return null;
  const sender = new WebhookSender(webhook, { version, connections: concurrency });
  shared.onRelease(() => sender.close());
  const { timeoutSeconds, maxAttempts } = webhook;
  const onError = shared.onError("delivery");
  const deliverer = new Deliverer({ ...shared, sender, timeoutSeconds, maxAttempts, onError });
  addLoop(shared, deliverer.settling);
  addLoop(shared, deliverer.claiming);
  return deliverer;
}

/**
 * Adds the loops beside the pipeline: cleanup, the second look at open incidents, the gauges read from `public.alerts`.
 */
function addCaretakers(shared: Shared, deliverer: Deliverer | null): void {
  const { cleanupIntervalSeconds, alertRetentionSeconds } = shared.config;
  addLoop(
    shared,
    createPruner({
      ...shared,
      intervalSeconds: cleanupIntervalSeconds,
      retentionSeconds: alertRetentionSeconds,
      onError: shared.onError("cleanup"),
    }),
  );
  addLoop(
    shared,
    createSecondLook({
      ...shared,
      onCleared: () => deliverer?.wake(),
      onError: shared.onError("second look"),
    }),
  );
  addLoop(shared, createAlertGauges({ ...shared, onError: shared.onError("alert gauges") }));
}
