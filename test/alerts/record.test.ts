import { pino } from "pino";
import { expect, test } from "vitest";
import { Recorder } from "../../src/alerts/record.ts";
import { parseDsn } from "../../src/db/dsn.ts";
import { openPool } from "../../src/db/pool.ts";
import type { CertUpdate } from "../../src/feed/message.ts";
import { createMetrics } from "../../src/metrics.ts";
import type { Match } from "../../src/watchlist/matcher.ts";
import { final, theirs } from "../support/updates.ts";

// What waits while the database is away. The recorder is not started: nothing is asked of the database.

function idleRecorder() {
  const dropped: string[] = [];
  const log = pino({ level: "silent" }, { write: (line) => void dropped.push(line) });
  const metrics = createMetrics({ version: "test", feeds: [] });
  const recorder = new Recorder({
    db: openPool(parseDsn("postgres://nowhere.invalid/none", {})),
    log,
    metrics,
    graceSeconds: 1,
    deliver: true,
    match: () => null,
    lostSessions: () => 0,
    onRecorded: () => {},
    onError: () => {},
  });
  const droppedTotal = async () => (await metrics.alertsDropped.get()).values[0]!.value;
  return { recorder, dropped: () => dropped.map((line) => JSON.parse(line)), droppedTotal };
}

const template: CertUpdate = { ...final(theirs.issue({ dnsNames: ["example.org"] })), asDerBase64: null };
const numbered = (i: number) => ({ ...template, fingerprintSha1: i.toString(16).padStart(40, "0") });
const match = { entries: ["example.org"], sans: ["example.org"], namesTruncated: 0 };

test("100,000 certificates wait; what overflows is counted and logged whole", async () => {
  const { recorder, dropped, droppedTotal } = idleRecorder();
  for (let i = 0; i < 100_000; i += 1) recorder.add(numbered(i), match);
  expect(recorder.waiting).toBe(100_000);
  expect(await droppedTotal()).toBe(0);
  // One that waits already is no overflow.
  recorder.add(numbered(0), match);
  expect(await droppedTotal()).toBe(0);
  recorder.add(numbered(100_000), match);
  recorder.add(numbered(100_001), match);
  expect(recorder.waiting).toBe(100_000);
  expect(await droppedTotal()).toBe(2);
  expect(dropped()).toMatchObject([
    {
      level: 50,
      dropped: {
        fingerprint: "186a0".padStart(40, "0"),
        sans: ["example.org"],
        payload: { serial: template.serial, not_after: template.notAfterEpochSeconds },
      },
    },
    { dropped: { fingerprint: "186a1".padStart(40, "0") } },
  ]);
});

const longText = "f".repeat(17_000_000);
test.each<[string, Partial<CertUpdate>, Partial<Match>?]>([
  ["names", { allDomains: [longText] }],
  ["the issuer", { issuerAggregated: longText }],
  ["the CN", { subjectCn: longText }],
  ["the entries of a wildcard", {}, { entries: [longText] }],
])("no more than 256 MB wait, also where %s takes them", async (_, fields, matched) => {
  const { recorder, droppedTotal } = idleRecorder();
  for (let i = 0; i < 9; i += 1) recorder.add({ ...numbered(i), ...fields }, { ...match, ...matched });
  // Two bytes a character: seven of 34 MB fit.
  expect(recorder.waiting).toBe(7);
  expect(await droppedTotal()).toBe(2);
  // A small one still finds room.
  recorder.add(numbered(9), match);
  expect(recorder.waiting).toBe(8);
});

test.each<[string, Partial<CertUpdate>]>([
  ["link", { certLink: longText }],
  ["serial number", { serial: longText }],
  ["source", { sourceName: longText }],
])("a %s of 17 MB takes no more room than a webhook body has for it", async (_, fields) => {
  const { recorder, droppedTotal } = idleRecorder();
  for (let i = 0; i < 9; i += 1) recorder.add({ ...numbered(i), ...fields }, match);
  expect([recorder.waiting, await droppedTotal()]).toEqual([9, 0]);
});
