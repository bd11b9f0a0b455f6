import { z } from "zod";
import type { WebhookTarget } from "./alerts/webhook.ts";
import {
  authorizationProblem,
  type FeedConfig,
  feedAuthorizations,
  feedUrls,
  toFeedConfigs,
} from "./config/feeds.ts";
import { maskValue } from "./config/mask.ts";
import {
  checked,
  dsnProblem,
  integer,
  maxRetentionSeconds,
  oneLine,
  seconds,
  secretsProblem,
  url,
} from "./config/values.ts";
import type { LogLevel } from "./log.ts";

/** The whole configuration, checked. Built by {@link readConfig} and never changed. */
export interface Config {
  /** The Postgres connection string; `null` if `embedded`. */
  postgresDsn: string | null;
  embedded: boolean;
  /** The folder of the embedded database. */
  dataDir: string;
  feeds: FeedConfig[];
  apiHost: string;
  /** The port of the HTTP server; 0: the system chooses a free port. */
  apiPort: number;
  /** The receiver of alerts; `null`: observer mode, in which alerts are only recorded and logged. */
  webhook: WebhookConfig | null;
  cleanupIntervalSeconds: number;
  alertRetentionSeconds: number;
  suspiciousGraceSeconds: number;
  watchRefreshIntervalSeconds: number;
  precertMatch: "serial" | "tbs";
  /** How long a feed that delivered before may be silent before we connect again; 0: a silent feed is left alone. */
  feedIdleTimeoutSeconds: number;
  feedMaxMessageBytes: number;
  logLevel: LogLevel;
}

export interface WebhookConfig extends WebhookTarget {
  maxAttempts: number;
}

/** Says that the configuration cannot be used. `problems` has one sentence for each variable that is wrong. */
export class ConfigError extends Error {
  readonly problems: string[];
  constructor(problems: string[]) {
    super(`bad configuration:\n${problems.map((problem) => `  ${problem}`).join("\n")}`);
    this.name = "ConfigError";
    this.problems = problems;
  }
}

const levels: Record<string, LogLevel> = {
  TRACE: "trace",
  DEBUG: "debug",
  INFO: "info",
  WARN: "warn",
  WARNING: "warn",
  ERROR: "error",
  FATAL: "fatal",
  CRITICAL: "fatal",
  SILENT: "silent",
};

const environment = z.object({
  POSTGRES_DSN: checked(dsnProblem).optional(),
  CERTSTREAM_URL: feedUrls,
  CERTSTREAM_AUTHORIZATION: feedAuthorizations,
  API_HOST: z.string().default("127.0.0.1"),
  API_PORT: integer(8765, 0, 65_535),
  WEBHOOK_URL: checked((text) => url(["http://", "https://"], text)).optional(),
  WEBHOOK_TIMEOUT_S: seconds(10, { min: 0.001, max: 3_600 }),
  WEBHOOK_SECRET: checked(secretsProblem).optional(),
  WEBHOOK_AUTHORIZATION: checked(oneLine).optional(),
  WEBHOOK_MAX_ATTEMPTS: integer(3, 1, 1_000),
  CLEANUP_INTERVAL_S: seconds(3_600, { min: 0.1 }),
  ALERT_RETENTION_S: seconds(2_592_000, { min: 1, max: maxRetentionSeconds }),
  SUSPICIOUS_GRACE_S: seconds(10),
  WATCH_REFRESH_INTERVAL_S: seconds(60, { min: 0.1 }),
  PRECERT_MATCH: z.enum(["serial", "tbs"], { error: 'allowed is "serial" or "tbs"' }).default("serial"),
  FEED_IDLE_TIMEOUT_S: seconds(120),
  FEED_MAX_MESSAGE_BYTES: integer(16_777_216, 1_024, 536_870_912),
  LOG_LEVEL: z
    .string()
    .default("INFO")
    .transform((text) => levels[text.toUpperCase()])
    .pipe(
      z.custom<LogLevel>((level) => level !== undefined, {
        error: `allowed is one of ${Object.keys(levels).join(", ")}`,
      }),
    ),
  DATA_DIR: z.string().default("./certwatch-data"),
});

type Environment = z.output<typeof environment>;
const variables = Object.keys(environment.shape) as (keyof Environment)[];

/**
 * Reads the configuration from environment variables. An empty variable counts as unset.
 *
 * @throws ConfigError that names every problem at once, with secrets masked.
 */
export function readConfig(env: NodeJS.ProcessEnv, options: { embedded: boolean }): Config {
  const given: Record<string, string> = {};
  for (const name of variables) {
    const text = env[name]?.trim();
    if (text !== undefined && text !== "") given[name] = text;
  }
  const parsed = environment.safeParse(given);
  const problems = (parsed.error?.issues ?? []).map((issue) => {
    const name = String(issue.path[0]);
    return `${name}=${maskValue(name, given[name] ?? "")}: ${issue.message}`;
  });
  const mismatch = authorizationProblem(given.CERTSTREAM_AUTHORIZATION, given.CERTSTREAM_URL);
  if (mismatch !== null) problems.push(mismatch);
  if (options.embedded && given.POSTGRES_DSN !== undefined) {
    problems.push("POSTGRES_DSN is set, but --embedded runs its own database: remove one of the two");
  }
  if (!options.embedded && given.POSTGRES_DSN === undefined) {
    problems.push(
      "POSTGRES_DSN is not set: give a Postgres connection string (postgresql://user:password@host/database), or run with --embedded to use a database of certwatch's own",
    );
  }
  if (problems.length > 0 || parsed.data === undefined) throw new ConfigError(problems);
  return toConfig(parsed.data, options.embedded);
}

function toConfig(values: Environment, embedded: boolean): Config {
  return {
    postgresDsn: values.POSTGRES_DSN ?? null,
    embedded,
    dataDir: values.DATA_DIR,
    feeds: toFeedConfigs(values.CERTSTREAM_URL, values.CERTSTREAM_AUTHORIZATION),
    apiHost: values.API_HOST,
    apiPort: values.API_PORT,
    webhook: values.WEBHOOK_URL === undefined ? null : toWebhookConfig(values.WEBHOOK_URL, values),
    cleanupIntervalSeconds: values.CLEANUP_INTERVAL_S,
    alertRetentionSeconds: values.ALERT_RETENTION_S,
    suspiciousGraceSeconds: values.SUSPICIOUS_GRACE_S,
    watchRefreshIntervalSeconds: values.WATCH_REFRESH_INTERVAL_S,
    precertMatch: values.PRECERT_MATCH,
    feedIdleTimeoutSeconds: values.FEED_IDLE_TIMEOUT_S,
    feedMaxMessageBytes: values.FEED_MAX_MESSAGE_BYTES,
    logLevel: values.LOG_LEVEL,
  };
}

/** Turns user and password of the URL into the `Authorization` header, unless `WEBHOOK_AUTHORIZATION` is set. */
function toWebhookConfig(text: string, values: Environment): WebhookConfig {
  const target = new URL(text);
  const credentials = `${decodeURIComponent(target.username)}:${decodeURIComponent(target.password)}`;
  const basic = credentials === ":" ? null : `Basic ${Buffer.from(credentials).toString("base64")}`;
  target.username = "";
  target.password = "";
  return {
    url: target.href,
    timeoutSeconds: values.WEBHOOK_TIMEOUT_S,
    secrets: values.WEBHOOK_SECRET?.split(/\s+/) ?? [],
    authorization: values.WEBHOOK_AUTHORIZATION ?? basic,
    maxAttempts: values.WEBHOOK_MAX_ATTEMPTS,
  };
}
