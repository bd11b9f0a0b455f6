import { readdirSync, readFileSync } from "node:fs";
import { pino } from "pino";
import { describe, expect, test } from "vitest";
import { toRecordedPayload } from "../../src/alerts/payload.ts";
import { CtLogs, unreadable } from "../../src/feed/ct-logs.ts";
import { type CertUpdate, parseMessage } from "../../src/feed/message.ts";
import { OriginReader } from "../../src/feed/origin.ts";
import { canSkip } from "../../src/feed/prefilter.ts";
import { Watcher } from "../../src/feed/watcher.ts";
import { weigh } from "../../src/issuance/evidence.ts";
import { normalizeSerial } from "../../src/issuance/serial.ts";
import { createMetrics } from "../../src/metrics.ts";
import { buildWatchList, type Match } from "../../src/watchlist/matcher.ts";

// Messages of every server and version in use, byte for byte. `real-*` were captured from the running server, with entries
// of a test log; the others are written as that version writes them. expected.json was made with another JSON parser.

interface Expected {
  type: string;
  matched: string[];
  update_type: string;
  names: string[];
  subject_cn: string | null;
  issuer_cn: string | null;
  issuer_o: string | null;
  issuer: string | null;
  serial: string;
  not_before: number;
  not_after: number;
  fingerprint_sha1: string | null;
  link: string | null;
  index: number;
  /** The log's URL as certwatch names it. */
  log: string;
  log_name: string;
  seen: number;
  log_time: number | null;
  /** What the payload has from the DER where the JSON says it in another way. The serial in normal form. */
  payload: { serial: string; fingerprint_sha1: string | null; update_type: string };
}

const folder = new URL("../fixtures/server-messages/", import.meta.url);
const expected: Record<string, Expected> = JSON.parse(readFileSync(new URL("expected.json", folder), "utf8"));
const bytesOf = (name: string) => readFileSync(new URL(`${name}.jsonl`, folder));
const names = Object.keys(expected);
const updates = names.filter((name) => expected[name]!.type === "certificate_update");
const { watchList } = await buildWatchList(["example.org"]);

/** These write spaces between the members of their JSON, so that every message has to be parsed. */
const alwaysParsed = /^python/;
/** These do not write log and index where certwatch reads them without parsing: their gaps are not counted. */
const withoutOrigin = /^(python|tb0hdan|elixir_(old|otp26|typefirst))/;

test("every message in the folder is in the table", () => {
  const files = readdirSync(folder).filter((file) => file.endsWith(".jsonl"));
  expect(files.map((file) => file.replace(/\.jsonl$/, "")).sort()).toEqual(names.sort());
  expect(updates.length).toBeGreaterThan(60);
});

test.each(names)("%s: its type", (name) => {
  expect(parseMessage(bytesOf(name)).type).toBe(expected[name]!.type);
});

describe.each(updates)("%s", (name) => {
  const bytes = bytesOf(name);
  const wanted = expected[name]!;

  test("is skipped if nobody watches it, and matched if somebody does", () => {
    expect(canSkip(bytes, watchList.table)).toBe(wanted.matched.length === 0 && !alwaysParsed.test(name));
    const matches: { update: CertUpdate; match: Match }[] = [];
    const watcher = new Watcher({
      feeds: ["feed"],
      watchList: () => watchList,
      onMatch: (update, match) => matches.push({ update, match }),
      log: pino({ level: "silent" }),
      metrics: createMetrics({ version: "0", feeds: [] }),
    });
    expect(watcher.receive(bytes, 0)).toBe(true);
    expect(matches.flatMap(({ match }) => match.sans)).toEqual(wanted.matched);
    for (const { update, match } of matches) {
      const payload = toRecordedPayload(weigh(update), match, wanted.seen);
      expect({ ...payload, serial: normalizeSerial(payload.serial) }).toMatchObject({
        ...wanted.payload,
        matched_entries: ["example.org"],
        matched_sans: wanted.matched,
        issuer_cn: wanted.issuer_cn,
        issuer_o: wanted.issuer_o,
        not_before: wanted.not_before,
        not_after: wanted.not_after,
        source_log: wanted.log_name,
        cert_link: wanted.link,
        seen_at: wanted.seen,
        subject_cn: wanted.subject_cn,
      });
      expect([...payload.all_sans].sort()).toEqual([...wanted.names].sort());
    }
  });

  test("is parsed field by field", () => {
    const message = parseMessage(bytes);
    expect(message).toMatchObject({
      update: {
        updateType: wanted.update_type,
        certIndex: wanted.index,
        certLink: wanted.link,
        seenEpochSeconds: wanted.seen,
        sourceName: wanted.log_name,
        sourceTimestampEpochSeconds: wanted.log_time,
        fingerprintSha1: wanted.fingerprint_sha1,
        allDomains: wanted.names,
        subjectCn: wanted.subject_cn,
        issuerCn: wanted.issuer_cn,
        issuerO: wanted.issuer_o,
        issuerAggregated: wanted.issuer,
        serial: wanted.serial,
        notBeforeEpochSeconds: wanted.not_before,
        notAfterEpochSeconds: wanted.not_after,
      },
    });
  });

  test("says which entry of which log it is about", () => {
    const logs = new CtLogs();
    const reader = new OriginReader(logs);
    const log = reader.read(bytes);
    if (withoutOrigin.test(name)) expect(log).toBe(unreadable);
    else expect([logs.urlOf(log), reader.index]).toEqual([wanted.log, wanted.index]);
  });
});
