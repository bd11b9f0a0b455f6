import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { maskUrl, maskWebhookUrl } from "../src/config/mask.ts";
import { ConfigError, readConfig } from "../src/config.ts";

const POSTGRES_DSN = "postgres://u:pw@db.example/certwatch";
const read = (env: NodeJS.ProcessEnv) => readConfig({ POSTGRES_DSN, ...env }, { embedded: false });

/** The problems that this environment has. */
function problemsOf(env: NodeJS.ProcessEnv, options = { embedded: false }): string[] {
  try {
    readConfig(env, options);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems;
  }
}
const problems = (env: NodeJS.ProcessEnv) => problemsOf({ POSTGRES_DSN, ...env });

describe("readConfig", () => {
  test("the defaults are those of the documentation", () => {
    expect(read({})).toEqual({
      postgresDsn: POSTGRES_DSN,
      embedded: false,
      dataDir: "./certwatch-data",
      feeds: [
        {
          url: "ws://localhost:8080/full-stream",
          name: "ws://localhost:8080/full-stream",
          authorization: null,
        },
      ],
      apiHost: "127.0.0.1",
      apiPort: 8765,
      webhook: null,
      cleanupIntervalSeconds: 3_600,
      alertRetentionSeconds: 2_592_000,
      suspiciousGraceSeconds: 10,
      watchRefreshIntervalSeconds: 60,
      precertMatch: "serial",
      feedIdleTimeoutSeconds: 120,
      feedMaxMessageBytes: 16_777_216,
      logLevel: "info",
    });
    expect(read({ WEBHOOK_URL: "http://hooks.example/x" }).webhook).toEqual({
      url: "http://hooks.example/x",
      timeoutSeconds: 10,
      secrets: [],
      authorization: null,
      maxAttempts: 3,
    });
  });

  test("an empty variable counts as unset, white space around a value as none", () => {
    const empty = Object.fromEntries(
      [
        "CERTSTREAM_URL",
        "API_HOST",
        "API_PORT",
        "WEBHOOK_URL",
        "SUSPICIOUS_GRACE_S",
        "LOG_LEVEL",
        "DATA_DIR",
      ].map((name) => [name, ""]),
    );
    expect(read({ ...empty, WEBHOOK_SECRET: "  " })).toEqual(read({}));
    expect(read({ API_PORT: " 80\n", SUSPICIOUS_GRACE_S: " .5 " })).toMatchObject({
      apiPort: 80,
      suspiciousGraceSeconds: 0.5,
    });
  });

  test.each([
    [
      "SUSPICIOUS_GRACE_S",
      "suspiciousGraceSeconds",
      ["0", "0.25", ".5", "7.", "2147483"],
      ["2147483.1", "-1", "1e3", "0x10", "1 2"],
    ],
    ["FEED_IDLE_TIMEOUT_S", "feedIdleTimeoutSeconds", ["0", "120"], ["NaN", "Infinity", "2m"]],
    ["WATCH_REFRESH_INTERVAL_S", "watchRefreshIntervalSeconds", ["0.1", "60"], ["0", "0.09"]],
    ["CLEANUP_INTERVAL_S", "cleanupIntervalSeconds", ["0.1", "2147483"], ["0", "2147484"]],
    [
      "ALERT_RETENTION_S",
      "alertRetentionSeconds",
      ["1", "2592000", "3153600000"],
      ["0", "0.9", "3153600001"],
    ],
    ["API_PORT", "apiPort", ["0", "65535"], ["65536", "-1", "8.5", "8O80", "٣"]],
    ["FEED_MAX_MESSAGE_BYTES", "feedMaxMessageBytes", ["1024", "536870912"], ["1023", "536870913", "1e6"]],
    ["PRECERT_MATCH", "precertMatch", ["serial", "tbs"], ["Serial", "none"]],
  ] as const)("%s: under, at and over its limits", (name, field, good, bad) => {
    for (const text of good)
      expect(String(read({ [name]: text })[field])).toBe(
        String(Number.isNaN(Number(text)) ? text : Number(text)),
      );
    for (const text of bad)
      expect(problems({ [name]: text }), text).toEqual([
        expect.stringContaining(`${name}="${text}": allowed is `),
      ]);
  });

  test("LOG_LEVEL in any case, the reference's names and pino's own", () => {
    const levels = {
      DEBUG: "debug",
      info: "info",
      Warning: "warn",
      error: "error",
      CRITICAL: "fatal",
      trace: "trace",
      warn: "warn",
    };
    for (const [text, level] of Object.entries(levels))
      expect(read({ LOG_LEVEL: text }).logLevel).toBe(level);
    for (const text of ["loud", "__proto__", "constructor", "0"])
      expect(problems({ LOG_LEVEL: text })).toHaveLength(1);
  });

  describe("CERTSTREAM_AUTHORIZATION", () => {
    const authorizations = (urls: string, values: string) =>
      read({ CERTSTREAM_URL: urls, CERTSTREAM_AUTHORIZATION: values }).feeds.map(
        ({ authorization }) => authorization,
      );

    test("is a list in the order of CERTSTREAM_URL, with an empty place for a feed that wants none", () => {
      expect(authorizations("ws://a/", "Bearer 1")).toEqual(["Bearer 1"]);
      expect(authorizations("ws://a/,ws://b/,ws://c/", "Bearer 1,,Bearer 3")).toEqual([
        "Bearer 1",
        null,
        "Bearer 3",
      ]);
      expect(authorizations("ws://a/ , ,ws://b/", ", Bearer 2")).toEqual([null, "Bearer 2"]);
      expect(authorizations("ws://a/,ws://A:80,ws://b/", "Bearer 1,Bearer 2,Bearer 3")).toEqual([
        "Bearer 1",
        "Bearer 3",
      ]);
      expect(read({ CERTSTREAM_AUTHORIZATION: "Bearer 1" }).feeds).toMatchObject([
        { authorization: "Bearer 1" },
      ]);
      expect(read({}).feeds).toMatchObject([{ authorization: null }]);
    });

    test.each([
      ["ws://a/,ws://b/", "Bearer s3cret"],
      ["ws://a/", "Bearer s3cret,"],
      ["ws://a/", 'Digest username="s3cret", realm="x"'],
      ["ws://a/,ws://b/,ws://c/", "Bearer s3cret,Bearer s3cret"],
      ["ws://a/", "Bearer s3cr\u00e9t"],
      ["ws://a/", "Bearer\ns3cret"],
    ])("%s with %j is refused: a token never reaches a server that it was not meant for", (urls, values) => {
      const told = problems({ CERTSTREAM_URL: urls, CERTSTREAM_AUTHORIZATION: values });
      expect(told).toEqual([expect.stringMatching(/^CERTSTREAM_AUTHORIZATION=\*\*\*: /)]);
      expect(told.join()).not.toMatch(/s3cr/);
    });
  });

  test("CERTSTREAM_URL is a list without duplicates; each bad one is told", () => {
    expect(read({ CERTSTREAM_URL: "ws://a/x , wss://b ,,ws://a/x,wss://B:443/" }).feeds).toEqual([
      { url: "ws://a/x", name: "ws://a/x", authorization: null },
      { url: "wss://b/", name: "wss://b/", authorization: null },
    ]);
    for (const bad of [",", "http://a", "a", "ws://a/#x", "ws://u:%zz@a", "ws://u:%ff@a"])
      expect(problems({ CERTSTREAM_URL: bad }), bad).toEqual([expect.stringMatching(/^CERTSTREAM_URL=/)]);
    expect(problems({ CERTSTREAM_URL: "http://a,ws://b,c" })).toHaveLength(2);
  });

  test("feeds whose URLs differ in what is not told have names of their own", () => {
    const { feeds } = read({ CERTSTREAM_URL: "ws://a/?key=1,ws://a/?key=2,ws://b/,ws://a/?key=3" });
    expect(feeds.map(({ name }) => name)).toEqual([
      "ws://a/?***",
      "ws://a/?*** (2)",
      "ws://b/",
      "ws://a/?*** (3)",
    ]);
  });

  test("credentials of WEBHOOK_URL become the Authorization header, unless there is one", () => {
    const basic = read({ WEBHOOK_URL: "https://us%40er:p%3A%C3%A9@h.example/x?y=1" }).webhook!;
    expect(basic.url).toBe("https://h.example/x?y=1");
    expect(basic.authorization).toBe(`Basic ${Buffer.from("us@er:p:é").toString("base64")}`);
    const given = read({ WEBHOOK_URL: "https://u:p@h.example/", WEBHOOK_AUTHORIZATION: "Bearer x" }).webhook!;
    expect([given.url, given.authorization]).toEqual(["https://h.example/", "Bearer x"]);
    for (const bad of ["https://u:%ff@h", "https://u:%@h", "ftp://h", "h.example/x", "https://h/#f"])
      expect(problems({ WEBHOOK_URL: bad }), bad).toEqual([expect.stringMatching(/^WEBHOOK_URL=/)]);
  });

  test("WEBHOOK_SECRET: base64 of 24 to 64 bytes, padded as it should be or not at all", () => {
    for (const bytes of [24, 25, 26, 32, 64]) {
      const padded = Buffer.alloc(bytes, 0xfb).toString("base64");
      for (const text of [padded, `whsec_${padded}`, padded.replace(/=+$/, "")])
        expect(read({ WEBHOOK_URL: "http://h", WEBHOOK_SECRET: text }).webhook?.secrets).toEqual(
          text.split(" "),
        );
      for (const text of [`${padded}=`, `whsec_${padded}===`, ` ${padded}!`, `${padded.slice(0, 32)}A`])
        expect(problems({ WEBHOOK_SECRET: text }), text).toHaveLength(1);
    }
    for (const bytes of [0, 23, 65])
      expect(problems({ WEBHOOK_SECRET: `whsec_${Buffer.alloc(bytes, 1).toString("base64")}` })).toHaveLength(
        1,
      );
  });

  test("WEBHOOK_SECRET: two, separated by a space, while one is being changed", () => {
    const [one, other, third] = [1, 2, 3].map((byte) => `whsec_${Buffer.alloc(32, byte).toString("base64")}`);
    const secrets = read({ WEBHOOK_URL: "http://h", WEBHOOK_SECRET: ` ${one}  ${other} ` }).webhook?.secrets;
    expect(secrets).toEqual([one, other]);
    expect(problems({ WEBHOOK_SECRET: `${one} ${other} ${third}` })).toEqual([
      expect.stringMatching(/^WEBHOOK_SECRET=\*\*\*: allowed are one secret, or two/),
    ]);
    expect(problems({ WEBHOOK_SECRET: `${one} x` })).toHaveLength(1);
  });

  test("files that the DSN names are looked at", async () => {
    const dir = await mkdtemp(join(tmpdir(), "certwatch-"));
    const ca = join(dir, "ca.pem");
    writeFileSync(ca, "");
    const dsn = (file: string) => `postgres://u:pw@h/db?sslmode=verify-full&sslrootcert=${file}`;
    expect(problems({ POSTGRES_DSN: dsn(ca) })).toEqual([]);
    expect(problems({ POSTGRES_DSN: dsn(join(dir, "none.pem")) })).toEqual([
      expect.stringContaining("cannot be read"),
    ]);
    await rm(dir, { recursive: true });
  });

  test("one database: none and both are problems beside the others", () => {
    expect(problemsOf({ API_PORT: "x" })).toEqual([
      expect.stringContaining("API_PORT"),
      expect.stringContaining("POSTGRES_DSN is not set"),
    ]);
    expect(problemsOf({ POSTGRES_DSN }, { embedded: true })).toEqual([expect.stringContaining("--embedded")]);
    expect(readConfig({}, { embedded: true }).postgresDsn).toBeNull();
  });

  test("whatever is wrong, no secret is told", () => {
    const secret = "s3cr3t-pass";
    const broken = fc.constantFrom(
      "",
      " ",
      "#",
      "%",
      "%ff",
      "?",
      "/",
      "//",
      ":",
      "@",
      ",",
      "[",
      "]",
      "\\",
      "\n",
      "=",
      "&",
      "\u00e9",
    );
    const noise = fc.array(broken, { maxLength: 2 }).map((parts) => parts.join(""));
    const scheme = fc.constantFrom(
      "",
      "http://",
      "https:",
      "ws://",
      "wss:/",
      "postgres://",
      "postgresql:/",
      "mailto:",
      "x:",
    );
    const url = fc
      .tuple(
        scheme,
        fc.constantFrom("user", "", "u:1,v"),
        noise,
        noise,
        fc.constantFrom("host", "", "host:port", "[::1"),
        noise,
      )
      .map(
        ([start, user, before, after, host, end]) =>
          `${start}${user}:${before}${secret}${after}@${host}/${end}`,
      );
    fc.assert(
      fc.property(fc.constantFrom("POSTGRES_DSN", "CERTSTREAM_URL", "WEBHOOK_URL"), url, (name, text) => {
        expect(problems({ [name]: text, API_PORT: "x" }).join("\n")).not.toContain(secret);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("maskUrl", () => {
  test.each([
    ["ws://h:1/p", "ws://h:1/p"],
    ["ws://u:p@h/p?q=1#f", "ws://***@h/p?***"],
    ["https://u@h/", "https://***@h/"],
    ["https://:p@h/", "https://***@h/"],
    [" wss://h/x?", "wss://h/x"],
    ["user:pass@host", "***"],
    ["mailto:user:pass@host", "***"],
    ["postgres://u:p@h/d", "***"],
    ["no URL", "***"],
    ["", "***"],
  ])("%j", (text, masked) => {
    expect(maskUrl(text)).toBe(masked);
  });

  test.each([
    ["https://h:1/services/T0/B0", "https://h:1/***"],
    ["https://u:p@h/a?q=1", "https://***@h/***"],
    ["https://h/?q=1", "https://h/***"],
    ["http://h", "http://h/"],
    ["no URL", "***"],
  ])("of a webhook, without its path: %j", (text, masked) => {
    expect(maskWebhookUrl(text)).toBe(masked);
  });
});
