import { z } from "zod";
import type { WebhookTarget } from "./alerts/webhook.ts";
import { createConnector } from "./db/connect.ts";
import { maskDsn, parseDsn } from "./db/dsn.ts";
import type { LogLevel } from "./log.ts";

/** Everything that can be configured, checked. Built by {@link readConfig} and never changed. */
export interface Config {
  /** `null` with `embedded`. */
  postgresDsn: string | null;
  embedded: boolean;
  /** Where the embedded database lives. */
  dataDir: string;
  feeds: FeedConfig[];
  apiHost: string;
  /** 0 lets the system choose a free port. */
  apiPort: number;
  /** `null`: observer mode, alerts are recorded and logged only. */
  webhook: WebhookConfig | null;
  cleanupIntervalSeconds: number;
  alertRetentionSeconds: number;
  suspiciousGraceSeconds: number;
  watchRefreshIntervalSeconds: number;
  precertMatch: "serial" | "tbs";
  /** 0: never. */
  feedIdleTimeoutSeconds: number;
  feedMaxMessageBytes: number;
  logLevel: LogLevel;
}

export interface FeedConfig {
  url: string;
  /** In logs and metrics: the URL without secrets, and a number where two would be the same. */
  name: string;
}

export interface WebhookConfig extends WebhookTarget {
  maxAttempts: number;
}

/** The configuration cannot be used. `problems` has one sentence for each variable that is wrong. */
export class ConfigError extends Error {
  readonly problems: string[];
  constructor(problems: string[]) {
    super(`bad configuration:\n${problems.map((problem) => `  ${problem}`).join("\n")}`);
    this.name = "ConfigError";
    this.problems = problems;
  }
}

/** A longer timer fires at once in Node.js. */
const maxTimerSeconds = 2_147_483;
/** Not a timer: a time in the past that rows are compared with. */
const maxRetentionSeconds = 100 * 365 * 86_400;

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

function seconds(defaultSeconds: number, limits: { min?: number; max?: number } = {}) {
  const { min = 0, max = maxTimerSeconds } = limits;
  const allowed = `a number of seconds ${min > 0 ? `from ${min}` : "from 0"} to ${max}`;
  return number(defaultSeconds, /^(\d+\.?\d*|\.\d+)$/, { min, max, allowed });
}

function integer(defaultValue: number, min: number, max: number) {
  return number(defaultValue, /^\d+$/, { min, max, allowed: `a whole number from ${min} to ${max}` });
}

function number(fallback: number, form: RegExp, limits: { min: number; max: number; allowed: string }) {
  return z
    .string()
    .optional()
    .transform((text, context) => {
      if (text === undefined) return fallback;
      const value = form.test(text) ? Number(text) : Number.NaN;
      if (value >= limits.min && value <= limits.max) return value;
      context.addIssue({ code: "custom", message: `allowed is ${limits.allowed}` });
      return z.NEVER;
    });
}

function url(schemes: string[], text: string): string | null {
  if (!URL.canParse(text)) return `not a URL: allowed is one that starts with ${schemes.join(" or ")}`;
  const { protocol, hash, username, password } = new URL(text);
  if (!schemes.includes(`${protocol}//`)) return `allowed is a URL that starts with ${schemes.join(" or ")}`;
  if (!canDecode(username) || !canDecode(password)) return "a % in user or password is to be written as %25";
  if (hash !== "") return "allowed is a URL without a fragment (#...)";
  return null;
}

function canDecode(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

function checked(problemOf: (text: string) => string | null) {
  return z.string().superRefine((text, context) => {
    const problem = problemOf(text);
    if (problem !== null) context.addIssue({ code: "custom", message: problem });
  });
}

const feedUrls = z
  .string()
  .default("ws://localhost:8080/full-stream")
  .transform((list) =>
    list
      .split(",")
      .map((text) => text.trim())
      .filter((text) => text !== ""),
  )
  .superRefine((urls, context) => {
    if (urls.length === 0) context.addIssue({ code: "custom", message: "no URL in it" });
    for (const text of urls) {
      const problem = url(["ws://", "wss://"], text);
      if (problem !== null) context.addIssue({ code: "custom", message: problem });
    }
  });

/** Base64 with all of its padding or without any. */
const base64Form = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?$/;

/** A Standard Webhooks secret: base64 of 24 to 64 random bytes, usually with the prefix `whsec_`. */
function secretProblem(text: string): string | null {
  const base64 = text.replace(/^whsec_/, "");
  const byteLength = base64Form.test(base64) ? Buffer.from(base64, "base64").length : 0;
  if (byteLength >= 24 && byteLength <= 64) return null;
  return 'allowed is "whsec_" and the base64 of 24 to 64 random bytes; make one with: echo "whsec_$(openssl rand -base64 32)"';
}

const oneLine = (text: string) =>
  /^[\x20-\x7e]+$/.test(text) ? null : "allowed is one line of printable ASCII";

const environment = z.object({
  POSTGRES_DSN: checked(dsnProblem).optional(),
  CERTSTREAM_URL: feedUrls,
  API_HOST: z.string().default("127.0.0.1"),
  API_PORT: integer(8765, 0, 65_535),
  WEBHOOK_URL: checked((text) => url(["http://", "https://"], text)).optional(),
  WEBHOOK_TIMEOUT_S: seconds(10, { min: 0.001, max: 3_600 }),
  WEBHOOK_SECRET: checked(secretProblem).optional(),
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
  if (options.embedded && given.POSTGRES_DSN !== undefined) {
    problems.push("POSTGRES_DSN is set, but --embedded runs its own database: drop one of the two");
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
    feeds: toFeedConfigs(values.CERTSTREAM_URL),
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

function toFeedConfigs(texts: string[]): FeedConfig[] {
  const urls = [...new Set(texts.map((text) => new URL(text).href))];
  const masked = urls.map(maskUrl);
  return urls.map((url, i) => {
    const before = masked.slice(0, i).filter((name) => name === masked[i]).length;
    return { url, name: before === 0 ? masked[i]! : `${masked[i]} (${before + 1})` };
  });
}

/** Credentials in the URL become the `Authorization` header, unless one is given. */
function toWebhookConfig(text: string, values: Environment): WebhookConfig {
  const target = new URL(text);
  const credentials = `${decodeURIComponent(target.username)}:${decodeURIComponent(target.password)}`;
  const basic = credentials === ":" ? null : `Basic ${Buffer.from(credentials).toString("base64")}`;
  target.username = "";
  target.password = "";
  return {
    url: target.href,
    timeoutSeconds: values.WEBHOOK_TIMEOUT_S,
    secret: values.WEBHOOK_SECRET ?? null,
    authorization: values.WEBHOOK_AUTHORIZATION ?? basic,
    maxAttempts: values.WEBHOOK_MAX_ATTEMPTS,
  };
}

function dsnProblem(text: string): string | null {
  try {
    // The files with certificates that it names are read here too, so that a missing one is a bad configuration.
    createConnector(parseDsn(text));
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function maskValue(name: string, text: string): string {
  if (name === "WEBHOOK_SECRET" || name === "WEBHOOK_AUTHORIZATION") return "***";
  if (name === "POSTGRES_DSN") return maskDsn(text);
  if (name === "WEBHOOK_URL") return maskWebhookUrl(text);
  if (name === "CERTSTREAM_URL") {
    const masked = text.split(",").map(maskUrl);
    // A comma in a password leaves two pieces, of which the first may read as host and port.
    return masked.includes("***") ? "***" : masked.join(",");
  }
  return JSON.stringify(text);
}

/** An `@` behind the host: `/`, `?` or `#` in a password that was not encoded end the host there. */
const hasLateAt = /^\s*\w+:\/\/[^/?#\\]*[/?#\\].*@/s;

/**
 * The URL for logs: credentials and query replaced by `***`; all of it where it is no URL of a host (`user:secret@host`
 * is one to the parser, with the scheme `user:`), and where what looks like host and port may be user and password.
 */
export function maskUrl(text: string): string {
  if (!/^\s*(https?|wss?):\/\//i.test(text) || !URL.canParse(text) || hasLateAt.test(text)) return "***";
  const masked = new URL(text);
  const credentials = masked.username !== "" || masked.password !== "" ? "***@" : "";
  const query = masked.search === "" ? "" : "?***";
  return `${masked.protocol}//${credentials}${masked.host}${masked.pathname}${query}`;
}

/** As {@link maskUrl}, without the path too: to n8n, Slack and others it is what a secret is, whoever has it may post. */
export function maskWebhookUrl(text: string): string {
  return maskUrl(text).replace(/^(\w+:\/\/[^/]+)\/.+$/, "$1/***");
}
