import { pino } from "pino";
import { beforeEach, describe, expect, test } from "vitest";
import { createAuthority } from "../../src/demo/certificates.ts";
import { type CertstreamServer, wireMessage } from "../../src/demo/wire.ts";
import type { CertUpdate } from "../../src/feed/message.ts";
import { Watcher } from "../../src/feed/watcher.ts";
import { createMetrics } from "../../src/metrics.ts";
import { buildWatchList, type Match, type WatchList } from "../../src/watchlist/matcher.ts";

const authority = createAuthority({ commonName: "E1" });
const log = { name: "Log", url: "https://log.example", type: "rfc6962" as const };
let index = 0;

function messageFor(dnsNames: string[], server: CertstreamServer = "go"): Buffer {
  index += 1;
  const issuance = authority.issue({ dnsNames });
  return Buffer.from(wireMessage({ issuance, kind: "X509LogEntry", log, index }, { server, feed: "lite" }));
}

describe("Watcher", () => {
  let watchList: WatchList;
  let matches: { update: CertUpdate; match: Match }[];
  let lines: { level: number; msg: string; feed?: string; reason?: string; suppressed?: number }[];
  let metrics: ReturnType<typeof createMetrics>;
  let watcher: Watcher;
  /** Takes a message from the first feed. */
  let receive: (message: Buffer) => boolean;
  let onMatch: (update: CertUpdate, match: Match) => void;
  beforeEach(async () => {
    watchList = (await buildWatchList(["example.org", "www.example.org", "b.test"])).watchList;
    matches = [];
    lines = [];
    metrics = createMetrics({ version: "0", feeds: [] });
    onMatch = (update, match) => matches.push({ update, match });
    receive = (message) => watcher.receive(message, 0);
    watcher = new Watcher({
      feeds: ["feed", "other"],
      watchList: () => watchList,
      onMatch: (update, match) => onMatch(update, match),
      log: pino({}, { write: (line: string) => lines.push(JSON.parse(line)) }),
      metrics,
    });
  });
  const delays = async () =>
    (await metrics.eventDelay.get()).values.find(({ metricName }) => metricName?.endsWith("_count"))!.value;

  test.each(["go", "rust", "calidog"] as const)("%s: finds what is watched and counts the rest", (server) => {
    receive(messageFor(["a.www.example.org", "z.example.org", "other.example", "*.example.org"], server));
    receive(messageFor(["notexample.org"], server));
    receive(messageFor(["B.Test"], server));
    expect(matches.map(({ match }) => match)).toMatchObject([
      {
        entries: ["example.org", "www.example.org"],
        sans: ["*.example.org", "a.www.example.org", "z.example.org"],
      },
      { entries: ["b.test"], sans: ["B.Test"] },
    ]);
    expect(metrics.feedCounts.messages.certificate_update).toBe(3);
    // Of a server that removes duplicates across logs it says once that gaps are not counted.
    expect(lines.map(({ msg }) => msg)).toEqual(
      server === "rust" ? [expect.stringMatching(/duplicates/)] : [],
    );
  });

  test.each(["", "\n", " \r\n", ",", "\u001e", "junk"])(
    "each message of a frame counts, with %j between",
    (between) => {
      const heartbeat = '{"message_type":"heartbeat"}';
      const texts = [["a.example"], ["www.b.test"], ["b.example"], ["b.test"]].map((names) =>
        messageFor(names).toString().trimEnd(),
      );
      const [first, second, third, fourth] = texts;
      expect(receive(Buffer.from([first, second].join(between)))).toBe(true);
      expect(receive(Buffer.from([fourth, heartbeat, third].join(between) + between))).toBe(true);
      expect(receive(Buffer.from([first, third].join(between)))).toBe(true);
      expect(receive(Buffer.from([heartbeat, heartbeat].join(between)))).toBe(false);
      expect(matches.flatMap(({ match }) => match.sans)).toEqual(["www.b.test", "b.test"]);
      expect(metrics.feedCounts.messages).toMatchObject({ certificate_update: 6, heartbeat: 3 });
      expect(metrics.feedCounts.refused.not_json > 0).toBe(/[,k]/.test(between));
      expect(metrics.feedCounts.unaccounted).toBe(0);
    },
  );

  test("what stands around a message costs nothing but itself", () => {
    const text = messageFor(["b.test"]).toString();
    for (const frame of [
      `${text}}`,
      `x${text}`,
      `${text}{"data":`,
      `\ufeff${text}`,
      `{"a":}${text}"`,
      `[${text}]`,
    ]) {
      matches = [];
      expect(receive(Buffer.from(frame)), frame).toBe(!frame.startsWith("["));
      expect(matches.length, frame).toBe(frame.startsWith("[") ? 0 : 1);
    }
    expect(metrics.feedCounts.refused).toMatchObject({ not_json: 6, not_an_object: 1 });
  });

  test("the list that counts is the one of the moment", async () => {
    const message = messageFor(["new.example"]);
    receive(message);
    watchList = (await buildWatchList(["new.example"])).watchList;
    receive(message);
    watchList = (await buildWatchList([])).watchList;
    receive(message);
    expect(matches).toHaveLength(1);
  });

  test("only certificates move the time of the last event", () => {
    receive(Buffer.from('{"message_type":"heartbeat"}'));
    receive(Buffer.from("null"));
    receive(Buffer.from('{"message_type":"certificate_update"}'));
    expect(metrics.feedCounts.lastCertificateUpdateMs).toBe(0);
    const before = Date.now();
    receive(messageFor(["noise.example"]));
    expect(metrics.feedCounts.lastCertificateUpdateMs).toBeGreaterThanOrEqual(before);
  });

  test("the delay behind the log is measured on matches, and on noise by a sample", async () => {
    receive(messageFor(["example.org"]));
    expect(await delays()).toBe(1);
    const noise = messageFor(["noise.example"]);
    for (let i = 0; i < 4_097; i += 1) receive(noise);
    expect(await delays()).toBe(3); // the first of them and the 4097th
  });

  test("refusals are logged once a minute for each kind, with a bounded excerpt", () => {
    for (let i = 0; i < 100; i += 1) {
      receive(Buffer.from(`not JSON ${"x".repeat(1_000)}`));
      receive(Buffer.from("[]"));
    }
    expect(lines).toMatchObject([{ reason: "not_json", suppressed: 0 }, { reason: "not_an_object" }]);
    expect(JSON.stringify(lines).length).toBeLessThan(1_000);
    expect(metrics.feedCounts.refused).toMatchObject({ not_json: 100, not_an_object: 100 });
  });

  test("a mistake further down costs its message only, whose bytes are logged", () => {
    const message = messageFor(["a.example.org"]);
    onMatch = () => {
      throw new Error("a mistake");
    };
    receive(message);
    expect(lines).toMatchObject([
      { level: 50, message: message.toString("base64"), err: { message: "a mistake" } },
    ]);
    expect(metrics.feedCounts.refused).toMatchObject({ internal_error: 1, no_certificate: 0 });
    onMatch = (update, match) => matches.push({ update, match });
    receive(message);
    expect(matches).toHaveLength(1);
  });

  test("nothing that a server sends makes it throw", () => {
    const deep = "[".repeat(100_000) + "]".repeat(100_000);
    for (const text of [
      deep,
      `{"a":${deep}}`,
      // The prefilter passes it over, and as the first of its kind it is parsed for the sample.
      `{"message_type":"certificate_update","data":{"leaf_cert":{"all_domains":["noise.example"],"x":${deep}}}}`,
      `{"message_type":"certificate_update","data":{"leaf_cert":{"all_domains":["a.example.org"],"x":${deep}}}}`,
      '{"message_type":"certificate_update","data":{"leaf_cert":{"all_domains":{"length":7}}}}',
      '{"message_type":"certificate_update","data":{"leaf_cert":{"all_domains":["\\ud800.example.org","\\u0000"]}}}',
      "",
    ])
      receive(Buffer.from(text));
    expect(matches.map(({ match }) => match.sans)).toEqual([["a.example.org"], ["\ud800.example.org"]]);
    expect(lines.filter(({ level }) => level >= 50)).toEqual([]);
  });

  describe("the gaps of a feed are counted whole or not at all", () => {
    /** A message that nobody watches, or one that is parsed, with one member more than certwatch knows. */
    const odd = (i: number, names: string[]) =>
      Buffer.from(
        wireMessage(
          { issuance: authority.issue({ dnsNames: names }), kind: "X509LogEntry", log, index: i },
          { server: "go" },
        ).replace('"type":"rfc6962"}', '"type":"rfc6962","operator":"Example"}'),
      );
    const usual = (i: number) =>
      Buffer.from(odd(i, ["a.example"]).toString().replace(',"operator":"Example"', ""));
    const lost = () => {
      watcher.gaps.settle(performance.now() + 300_000);
      return watcher.gaps.lostEntries().reduce((sum, { count }) => sum + count, 0);
    };
    const explained = () =>
      lines.filter(({ msg }) => /cannot tell whether this feed loses entries/.test(msg));

    test("where no message says its entry in a known way", () => {
      for (let i = 0; i < 100; i++) receive(odd(i, [i % 99 === 0 ? "b.test" : "a.example"]));
      expect([matches.length, lost()]).toEqual([2, 0]);
      expect(metrics.feedCounts).toMatchObject({ unaccounted: 100, messages: { certificate_update: 100 } });
      expect(explained()).toMatchObject([{ level: 40, feed: "feed" }]);
    });

    test("where some do not, whichever came first", () => {
      receive(usual(1));
      receive(usual(5));
      for (const i of [2, 3, 4]) receive(odd(i, ["a.example"]));
      receive(usual(9));
      expect([lost(), metrics.feedCounts.unaccounted, explained().length]).toEqual([0, 3, 1]);
    });

    test("and another feed beside it is counted, once for each entry that neither brought", () => {
      receive(odd(1, ["a.example"]));
      for (const i of [1, 2, 5]) watcher.receive(usual(i), 1);
      receive(usual(4));
      expect(lost()).toBe(1);
      watcher.receive(odd(6, ["a.example"]), 1);
      expect(explained()).toMatchObject([{ feed: "feed" }, { feed: "other" }]);
      watcher.receive(usual(9), 1);
      expect(lost()).toBe(1);
    });
  });
});
