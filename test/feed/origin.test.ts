import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createAuthority } from "../../src/demo/certificates.ts";
import type { CtLog, LogEntry } from "../../src/demo/log-entry.ts";
import { type CertstreamServer, wireMessage } from "../../src/demo/wire.ts";
import { CtLogs, noLog, unreadable } from "../../src/feed/ct-logs.ts";
import { parseMessage } from "../../src/feed/message.ts";
import { OriginReader } from "../../src/feed/origin.ts";
import { edited } from "../support/byte-edits.ts";
import { serverMessages } from "../support/server-messages.ts";

const hostileText =
  '","source":{"name":"x","url":"https://evil.example"}},"cert_index":7,"timestamp":1,"x":"';
const authority = createAuthority({ commonName: 'R"11\\', organization: hostileText });
const issuance = authority.issue({ dnsNames: ["a.example", hostileText], organization: hostileText });
const log: CtLog = { name: "Example 'Log2026h1' log", url: "https://ct.example/2026h1", type: "rfc6962" };
const message = (
  entry: Partial<LogEntry> = {},
  server: CertstreamServer = "go",
  feed: "full" | "lite" = "full",
) =>
  Buffer.from(
    wireMessage({ issuance, kind: "X509LogEntry", log, index: 1_234_567_890, ...entry }, { server, feed }),
  );

/** What the reader and the parser say of a message; `null` where the one or the other cannot tell. */
function readBoth(bytes: Buffer, logs = new CtLogs(), reader = new OriginReader(logs)) {
  const number = reader.read(bytes);
  const isRead = number !== noLog && number !== unreadable;
  const seconds = !isRead ? null : reader.timestampEpochSeconds(bytes);
  const parsed = parseMessage(bytes);
  const update = parsed.type === "certificate_update" ? parsed.update : null;
  return {
    read: !isRead ? null : { log: number, index: reader.index, seconds },
    parsed: update && {
      log: logs.numberOf(update.sourceUrl ?? ""),
      index: update.certIndex,
      seconds: update.sourceTimestampEpochSeconds,
    },
    isDeduplicated: reader.isDeduplicated,
  };
}

describe("the origin of a message", () => {
  const kinds = ["X509LogEntry", "PrecertLogEntry"] as const;
  const cases = (["go", "rust", "calidog"] as const).flatMap((server) =>
    (["full", "lite"] as const).flatMap((feed) =>
      kinds.flatMap((kind) => (["rfc6962", "tiled"] as const).map((type) => ({ server, feed, kind, type }))),
    ),
  );

  it.each(cases)("$server, $feed, $kind, $type: is what the parser finds", ({ server, feed, kind, type }) => {
    const logs = new CtLogs();
    const reader = new OriginReader(logs);
    for (const timestampEpochSeconds of [1_761_918_776.523, 1_761_918_776.5, 1_761_918_776, 0.001, 0]) {
      for (const index of [0, 9, 1_234_567_890, Number.MAX_SAFE_INTEGER]) {
        for (const url of [log.url, `${log.url}-b`, log.url]) {
          const bytes = message(
            { kind, timestampEpochSeconds, index, log: { ...log, type, url } },
            server,
            feed,
          );
          const { read, parsed, isDeduplicated } = readBoth(bytes, logs, reader);
          expect(read).toEqual(parsed);
          expect(read?.index).toBe(index);
          expect(logs.urlOf(read!.log)).toBe(url.replace("https://", ""));
          expect(isDeduplicated).toBe(server === "rust");
        }
      }
    }
  });

  it.each(Object.entries(serverMessages))("%s: whatever the text of the certificate", (_, write) => {
    for (const text of [
      hostileText,
      `\\${hostileText}`,
      "\\",
      '"',
      "",
      "}}}",
      ',"cert_index":7,',
      "é\u2028",
    ]) {
      const bytes = Buffer.from(write({ names: ["a.net", text], text, chainNames: [[text]] }));
      const { read, parsed } = readBoth(bytes);
      expect(read).toEqual(parsed);
      expect(read?.index).toBe(1_234);
    }
  });

  it("has no time where the server with sorted keys sends none", () => {
    const logs = new CtLogs();
    const reader = new OriginReader(logs);
    expect(readBoth(message(), logs, reader).read?.seconds).not.toBeNull();
    const sorted = message()
      .toString()
      .replace(/,"timestamp":[^}]*/, "");
    const { read, parsed } = readBoth(Buffer.from(sorted), logs, reader);
    expect(read).toEqual({ log: 0, index: 1_234_567_890, seconds: null });
    expect(parsed).toEqual(read);
  });

  it.each([
    ["where the next key is shorter than `type`", 0.001, '"typ":'],
    ["where it is before the year 1", -9_999_999_999_999, '"type":'],
  ])("has no other time than the parser finds: %s", (_, timestampEpochSeconds, key) => {
    const text = message({ timestampEpochSeconds }).toString().replace('"type":', key);
    const { read, parsed } = readBoth(Buffer.from(text));
    expect([null, parsed!.seconds]).toContain(read!.seconds);
  });

  it("is told without the log's name", () => {
    const logs = new CtLogs();
    const reader = new OriginReader(logs);
    for (const name of [
      "",
      "A",
      "B",
      'quoted "log"',
      "\\",
      "é",
      "x".repeat(200),
      '{"url":"https://no.example"}',
    ]) {
      for (const server of ["go", "rust", "calidog"] as const) {
        const { read, parsed } = readBoth(message({ log: { ...log, name } }, server), logs, reader);
        expect(read, name).toEqual(parsed);
        expect(read?.log).toBe(0);
      }
    }
  });

  it("takes logs for different whose URLs differ in one character, wherever", () => {
    const logs = new CtLogs();
    const reader = new OriginReader(logs);
    const urls = [...log.url].map((_, i) => `${log.url.slice(0, i)}~${log.url.slice(i + 1)}`);
    for (const url of [...urls, ...urls]) {
      const { read, parsed } = readBoth(message({ log: { ...log, url } }), logs, reader);
      expect(read).toEqual(parsed);
    }
    expect(new Set(urls.map((url) => logs.numberOf(url))).size).toBe(urls.length);
  });

  it("is that of the right log where numbers go to other logs", () => {
    const logs = new CtLogs();
    const reader = new OriginReader(logs);
    const read = (url: string) => logs.urlOf(reader.read(message({ log: { ...log, url } })));
    for (let i = 0; i < 2_000; i++) {
      expect(read(`https://ct.example/${i}`)).toBe(`ct.example/${i}`);
      expect(read("https://ct.example/steady")).toBe("ct.example/steady");
      if (i % 8 === 0) expect(read(`https://ct.example/${i >> 1}`)).toBe(`ct.example/${i >> 1}`);
    }
  });

  it("is still told where no more sources can be remembered", () => {
    const logs = new CtLogs();
    const reader = new OriginReader(logs);
    for (let i = 0; i < 1_500; i++) {
      const url = `https://${"abcdefgh"[i % 8]}${"stuvwxyz"[(i >> 3) % 8]}.ct.example/2026`;
      const { read, parsed } = readBoth(message({ log: { ...log, url, name: `log ${i}` } }), logs, reader);
      expect(read).toEqual(parsed);
      expect(read).not.toBeNull();
    }
  });
});

describe("a message of another shape", () => {
  const go = message().toString();
  const rust = message({}, "rust").toString();
  const sourceText = `"source":{"name":"${log.name}","url":"${log.url}"`;

  it.each([
    ["nothing", ""],
    ["short", '{"data":{"cert_index":1}}'],
    ["white space", go.replace('"cert_index":', '"cert_index": ')],
    ["pretty", JSON.stringify(JSON.parse(go), null, 1)],
    ["an index that is no integer", go.replace("1234567890,", "1234567890.5,")],
    ["an index with exponent", go.replace("1234567890,", "1e5,")],
    ["a negative index", go.replace("1234567890,", "-1,")],
    ["an index too large", go.replace("1234567890,", "9007199254740992,")],
    ["an index as text", go.replace("1234567890,", '"1234567890",')],
    ["no index", go.replace('"cert_index":1234567890,', "")],
    ["no index, type first", rust.replace('"cert_index":1234567890,', "")],
    ["the index far away", rust.replace('"cert_link":"', `"cert_link":"${"x".repeat(5_000)}`)],
    ["no source", go.replace(/"source":\{[^}]*\}/, '"source":null')],
    ["another source", go.replace('"source":{', '"source":{"x":1,')],
    ["a source without URL", rust.replace(sourceText, `"source":{"name":"${log.name}"`)],
    ["a URL that is no text", rust.replace(`"url":"${log.url}"`, '"url":["x"]')],
    ["an empty URL", rust.replace(`"url":"${log.url}"`, '"url":""')],
    ["a source too long", rust.replace('"source":{"name":"', `"source":{"name":"${"x".repeat(1_100)}`)],
    ["another update type", go.replace('"X509LogEntry"', '"Other"')],
    ["another log type", go.replace('"type":"rfc6962"', '"type":"elsewhere"')],
    ["something behind the source", go.replace(',"type":"rfc6962"}', ',"type":"rfc6962","x":1}')],
    ["something behind the type", go.replace(/\}\n$/, ',"x":1}\n')],
    ["a heartbeat", `{"message_type":"heartbeat","timestamp":1761918776.5,"x":"${"x".repeat(200)}"}`],
    ["no JSON", "x".repeat(500)],
  ])("with %s is not answered", (_, text) => {
    const logs = new CtLogs();
    const reader = new OriginReader(logs);
    for (const known of [go, rust, message({}, "calidog").toString()]) {
      expect(reader.read(Buffer.from(known))).toBe(0);
    }
    expect(reader.read(Buffer.from(text))).toBe(text.includes('"url":""') ? noLog : unreadable);
  });

  it("never gets another answer than the parser's, and never throws", () => {
    const url = fc.constantFrom(log.url, `${log.url}/`, "ct.example", 'https://quo"ted.example/\\');
    const entry = fc.record({
      index: fc.oneof(fc.nat(), fc.maxSafeNat()),
      kind: fc.constantFrom<LogEntry["kind"]>("X509LogEntry", "PrecertLogEntry"),
      timestampEpochSeconds: fc.nat(2_000_000_000_000).map((ms) => ms / 1_000),
      log: fc.record({
        name: fc.oneof(fc.constant(log.name), fc.string({ unit: "binary", maxLength: 40 })),
        url: fc.oneof(url, fc.webUrl({ withQueryParameters: true })),
        type: fc.constantFrom<CtLog["type"]>("rfc6962", "tiled"),
      }),
    });
    const edit = fc.record({
      kind: fc.constantFrom("flip", "insert", "delete", "repeat", "truncate", "upper", "pretty", "duplicate"),
      at: fc.oneof(fc.nat(), fc.nat(60)),
      near: fc.constantFrom("names", "anywhere", "end"),
      length: fc.nat(12),
      token: fc.constantFrom('"', "\\", "}", "{", ",", ":", " ", "7", "é", '""', '","', '"url":"x",'),
      names: fc.constant(["a.example"]),
    });
    const seen = { answered: 0, answeredEdited: 0, unanswered: 0 };
    // One reader for all: what it learns from a broken message must not spoil the next.
    const logs = new CtLogs();
    const reader = new OriginReader(logs);
    const property = fc.property(
      fc.constantFrom<CertstreamServer>("go", "rust", "calidog"),
      fc.constantFrom<"full" | "lite">("full", "lite"),
      entry,
      fc.array(edit, { maxLength: 2 }),
      (server, feed, each, edits) => {
        const bytes = edits.reduce<Buffer>(
          (current, one) => {
            // Where the origin stands: in the last bytes, or the first.
            const at = one.near === "end" ? Math.max(current.length - (one.at % 400), 0) : one.at;
            return edited(current, { ...one, at });
          },
          message(each, server, feed),
        );
        const { read, parsed } = readBoth(bytes, logs, reader);
        if (read === null) seen.unanswered += 1;
        if (read === null || parsed === null) return;
        seen.answered += 1;
        if (edits.length > 0) seen.answeredEdited += 1;
        expect({ log: read.log, index: read.index }).toEqual({ log: parsed.log, index: parsed.index });
        if (read.seconds !== null) expect(read.seconds).toBe(parsed.seconds);
      },
    );
    // `"type"` behind the timestamp becomes `"typ"`.
    const shorterKey = { kind: "delete", at: 81, near: "end", length: 1, token: '"' } as const;
    const early = { index: 0, kind: "X509LogEntry", timestampEpochSeconds: 0.001, log } as const;
    fc.assert(property, {
      numRuns: 10_000,
      examples: [["go", "full", early, [{ ...shorterKey, names: ["a.example"] }]]],
    });
    expect(seen.answered).toBeGreaterThan(1_000);
    expect(seen.answeredEdited).toBeGreaterThan(500);
    expect(seen.unanswered).toBeGreaterThan(500);
  }, 120_000);
});
