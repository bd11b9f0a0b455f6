import { expect, test } from "vitest";
import { maskWebhookUrl } from "../../src/config/mask.ts";
import { ConfigError, readConfig } from "../../src/config.ts";
import { patienceMs, Random, runs, seed } from "./random.ts";

const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
const separators = [
  "",
  "/",
  "?",
  "#",
  "@",
  ":",
  ",",
  "%",
  "&",
  "=",
  " ",
  "\\",
  "[",
  "]",
  "%2F",
  "é",
  "'",
  '"',
  "?a=",
  "\u0001",
];

/** Two pieces that occur nowhere else, and between them what breaks a URL; digits alone may be read as a port. */
function aSecret(random: Random): { text: string; pieces: string[] } {
  const digitsOnly = random.oneIn(3);
  const piece = () =>
    digitsOnly
      ? String(61_000 + random.below(3_000))
      : Array.from({ length: 10 }, () => random.pick([...alphabet])).join("");
  const pieces = [piece(), piece()];
  return { text: pieces.join(random.pick(separators)), pieces };
}

const numbers = [
  "",
  "0",
  "-1",
  "1e9",
  "3",
  "0.5",
  ".",
  "Infinity",
  "99999999999",
  "0x10",
  " 7 ",
  "NaN",
  "2147483",
  "1_000",
];
const others: Record<string, string[]> = {
  API_HOST: ["", "::1", "0.0.0.0", "not a host"],
  API_PORT: numbers,
  WEBHOOK_TIMEOUT_S: numbers,
  WEBHOOK_MAX_ATTEMPTS: numbers,
  CLEANUP_INTERVAL_S: numbers,
  ALERT_RETENTION_S: numbers,
  SUSPICIOUS_GRACE_S: numbers,
  WATCH_REFRESH_INTERVAL_S: numbers,
  FEED_IDLE_TIMEOUT_S: numbers,
  FEED_MAX_MESSAGE_BYTES: numbers,
  PRECERT_MATCH: ["tbs", "serial", "TBS", "constructor", "__proto__"],
  LOG_LEVEL: ["info", "Warning", "constructor", "__proto__", "toString", "verbose"],
  DATA_DIR: ["", "/nowhere"],
};

function aUrl(random: Random, schemes: string[], hosts: string[], secret: string): string {
  const user = random.pick(["", "user", "us er", "u%zz"]);
  const host = random.pick(hosts);
  const forms = [
    `${user}:${secret}@${host}/path`,
    `${user}:${encodeURIComponent(secret)}@${host}/path`,
    `${host}/path?token=${secret}`,
    `${user}:${secret}@${host}/path?token=${secret}#x`,
    `${user}:${encodeURIComponent(secret)}@${host}:99999/`,
    `${user}:${secret}@`,
  ];
  return random.pick(schemes) + random.pick(forms);
}

const count = runs(3_000);
test(
  `any environment is a configuration or a ConfigError, and no secret is in it, ${count} runs, FUZZ_SEED=${seed}`,
  () => {
    console.log(`FUZZ_SEED=${seed} FUZZ_RUNS=${count}`);
    const random = new Random(seed + 3);
    let accepted = 0;
    for (let i = 0; i < count; i++) {
      const { text, pieces } = aSecret(random);
      const env: NodeJS.ProcessEnv = {};
      const hosts = ["host.example", "127.0.0.1:5432", "[::1]", "a,b", "ho st", ""];
      const feeds = () => aUrl(random, ["ws://", "wss://", "http://", "", "WSS://", "wss:"], hosts, text);
      if (!random.oneIn(3))
        env.POSTGRES_DSN = `${aUrl(random, ["postgres://", "postgresql://", "mysql://", "postgres:/", ""], hosts, text)}${random.pick(["", "?sslmode=bogus", "?sslmode=verify-full&sslrootcert=/nowhere", `?password=${text}`, `?sslpassword=${text}&sslmode=x`])}`;
      if (!random.oneIn(3)) env.CERTSTREAM_URL = random.oneIn(4) ? `${feeds()},${feeds()}` : feeds();
      if (!random.oneIn(3))
        env.WEBHOOK_URL = aUrl(random, ["http://", "https://", "ftp://", "", "https:/"], hosts, text);
      if (random.oneIn(3)) env.WEBHOOK_SECRET = random.pick(["whsec_", "", "whsec_é"]) + text;
      if (random.oneIn(3)) env.WEBHOOK_AUTHORIZATION = random.pick(["Bearer ", "", "\n"]) + text;
      for (const [name, values] of Object.entries(others))
        if (random.oneIn(6)) env[name] = random.pick(values);

      const repeat = `FUZZ_SEED=${seed}, run ${i}: ${JSON.stringify(env)}`;
      let printed: string;
      try {
        const config = readConfig(env, { embedded: random.oneIn(3) });
        accepted += 1;
        const webhook = config.webhook === null ? "" : maskWebhookUrl(config.webhook.url);
        printed = [...config.feeds.map(({ name }) => name), webhook].join();
      } catch (error) {
        if (!(error instanceof ConfigError)) throw new Error(repeat, { cause: error });
        printed = error.message;
      }
      for (const piece of pieces)
        if (printed.includes(piece)) throw new Error(`${repeat} lets out ${piece}: ${printed}`);
    }
    expect(accepted).toBeGreaterThan(count / 1_000);
    expect(accepted).toBeLessThan(count);
  },
  patienceMs(count, 2_000),
);
