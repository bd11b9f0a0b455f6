import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { stripped, toCertificateRow } from "../../src/alerts/certificate-row.ts";
import { bodySizes, fitPayload, fitRecordedPayload } from "../../src/alerts/fit-payload.ts";
import { type Payload, type RecordedPayload, toPayload } from "../../src/alerts/payload.ts";
import { weigh } from "../../src/issuance/evidence.ts";
import { final, theirs } from "../support/updates.ts";

const [whole, medium, small] = bodySizes as [
  (typeof bodySizes)[0],
  (typeof bodySizes)[0],
  (typeof bodySizes)[0],
];
const fixed = {
  id: 9_007_199_254_740_991,
  severity: "suspicious" as const,
  eventType: "certificate.suspicious" as const,
  incidentKey: "cd".repeat(16),
  issuanceId: "ab".repeat(32),
  matchBasis: "fingerprint",
  reason: "r".repeat(300),
};
const payloadOf = (recorded: Partial<Payload>): Payload => toPayload({ ...fixed, payload: recorded });
const bodyOf = (recorded: Partial<Payload>, size = small): Payload =>
  JSON.parse(fitPayload(payloadOf(recorded))(size));
const numbered = (count: number, rest: string) => Array.from({ length: count }, (_, i) => `n${i}.${rest}`);

test("what fits is sent as it is", () => {
  const payload = payloadOf({ all_sans: ["b.example.org", "a.example.org", "b.example.org"] });
  for (const size of bodySizes) expect(fitPayload(payload)(size)).toBe(JSON.stringify(payload));
});

const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.string({ unit: "grapheme-ascii", maxLength: 300 }),
  fc.constantFrom(
    "\u0001".repeat(100_000),
    "é".repeat(50_000),
    "😀".repeat(30_000),
    '"\\'.repeat(9_000),
    "\ud800".repeat(999),
  ),
);
const names = fc
  .tuple(fc.array(text, { maxLength: 5 }), fc.constantFrom(0, 1, 100, 30_000))
  .map(([some, count]) => [...some, ...numbered(count, "example.org")]);

test("whatever is in it, a body is within its size, is JSON, and keeps what must never be cut", () => {
  const recorded = fc.record({
    matched_entries: names,
    matched_sans: names,
    all_sans: names,
    issuer_o: text,
    issuer_cn: text,
    source_log: text,
    cert_link: text,
    serial: text,
    update_type: text,
  });
  fc.assert(
    fc.property(recorded, fc.constantFrom(...bodySizes), (given, size) => {
      const payload = payloadOf({
        ...given,
        fingerprint_sha1: "cd".repeat(20),
        not_before: -62_135_596_800,
        not_after: 253_402_300_799,
        lifetime_days: 3_652_424.99,
        seen_at: 1_761_918_776,
      });
      const json = fitPayload(payload)(size);
      expect(Buffer.byteLength(json)).toBeLessThanOrEqual(size.maxBytes);
      const sent = JSON.parse(json) as Payload;
      const { fingerprint_sha1, severity, not_before, not_after, lifetime_days, seen_at } = payload;
      const { alert_id, issuance_id, match_basis, reason } = payload;
      expect(sent).toMatchObject({
        fingerprint_sha1,
        severity,
        not_before,
        not_after,
        lifetime_days,
        seen_at,
      });
      expect(sent).toMatchObject({ alert_id, issuance_id, match_basis, reason });
      expect(Object.keys(sent)).toEqual(Object.keys(payload));
      for (const list of ["matched_entries", "matched_sans", "all_sans"] as const) {
        expect(sent[list].length).toBeLessThanOrEqual(payload[list].length);
        // None of them is empty that was not.
        expect(sent[list].length === 0).toBe(payload[list].length === 0);
      }
    }),
    { numRuns: 150 },
  );
});

describe("names", () => {
  const attackers = numbered(5_000, "attacker.example.net");

  test("those that did not match are cut first", () => {
    const matched = numbered(50, "example.org");
    const sent = bodyOf({
      matched_entries: ["example.org"],
      matched_sans: matched,
      all_sans: [...attackers, ...matched],
    });
    expect([...sent.matched_sans].sort()).toEqual([...matched].sort());
    expect(sent.all_sans.slice(0, 50)).toEqual(sent.matched_sans);
    expect(sent.all_sans.length).toBeGreaterThan(51);
    expect(sent.names_truncated).toBe(attackers.length + 50 - sent.all_sans.length);
  });

  test("the first are equal to an entry, then wildcards, then those with few labels, then short ones", () => {
    const matched = [
      "aaa.example.org",
      "a.b.example.org",
      "*.sub.example.org",
      "Example.ORG.",
      "*.example.org",
      "b.example.org",
      ...numbered(20_000, "deep.down.in.example.org"),
    ];
    const sent = bodyOf({ matched_entries: ["example.org"], matched_sans: matched, all_sans: matched });
    expect(sent.matched_sans.slice(0, 6)).toEqual([
      "Example.ORG.",
      "*.example.org",
      "*.sub.example.org",
      "b.example.org",
      "aaa.example.org",
      "a.b.example.org",
    ]);
    expect(sent.all_sans).toEqual(["Example.ORG."]);
    expect(sent.names_truncated).toBe(matched.length - sent.matched_sans.length);
  });

  test("many entries leave room for the name that matched", () => {
    const entries = numbered(1_000, "some-entry.example.org");
    const sent = bodyOf({
      matched_entries: entries,
      matched_sans: ["n7.some-entry.example.org"],
      all_sans: attackers,
    });
    expect(sent.matched_entries[0]).toBe("n7.some-entry.example.org");
    expect(sent.matched_entries.length).toBeGreaterThan(50);
    expect(sent.matched_sans).toEqual(["n7.some-entry.example.org"]);
    expect(sent.all_sans).toHaveLength(1);
  });

  test("a long one keeps its last 100 bytes, and no half of a character", () => {
    const label = `${"x".repeat(300)}${"é".repeat(60)}.example.org`;
    const shown = (name: string, size = small) =>
      bodyOf({ matched_sans: [name], all_sans: attackers }, size).matched_sans;
    expect(shown(label)).toEqual([`…${"é".repeat(44)}.example.org`]);
    expect(shown("x".repeat(101))).toEqual([`…${"x".repeat(100)}`]);
    expect(shown("x".repeat(100))).toEqual(["x".repeat(100)]);
    const dnsName = "x".repeat(253);
    const manyAttackers = numbered(60_000, "attacker.example.net");
    const wide = (name: string) =>
      bodyOf({ matched_sans: [name], all_sans: manyAttackers }, whole).matched_sans;
    expect(wide(dnsName)).toEqual([dnsName]);
    expect(wide(`x${dnsName}`)).toEqual([`…${"x".repeat(100)}`]);
  });

  test("one that is in several lists, or several times in one, is missing once", () => {
    const twice = [...attackers, ...attackers];
    const sent = bodyOf({ matched_sans: attackers.slice(0, 2), all_sans: twice }, medium);
    expect(sent.names_truncated).toBe(5_000 - new Set([...sent.all_sans, ...sent.matched_sans]).size);
  });
});

test("a long text keeps its beginning", () => {
  const all_sans = numbered(5_000, "example.net");
  const sent = bodyOf({
    all_sans,
    issuer_o: "O".repeat(400),
    issuer_cn: "\u0001".repeat(400),
    serial: "😀".repeat(200),
  });
  expect(sent.issuer_o).toBe(`${"O".repeat(317)}…`);
  expect(sent.issuer_cn).toBe(`${"\u0001".repeat(52)}…`);
  expect(sent.serial).toBe(`${"😀".repeat(79)}…`);
  expect(bodyOf({ all_sans, issuer_o: "O".repeat(320) }).issuer_o).toBe("O".repeat(320));
});

describe("before it is recorded", () => {
  const recordedOf = (fields: Partial<RecordedPayload>): RecordedPayload => {
    const { alert_id, issuance_id, match_basis, reason, type, state, incident_key, severity, ...recorded } =
      payloadOf(fields);
    return { ...recorded, subject_cn: null, is_cn_watched: false, is_cn_appended: false, ...fields };
  };
  /** A payload that has this many bytes as JSON, not counting the fields that only the verdict needs. */
  const recordedOfBytes = (bytes: number): RecordedPayload => {
    const sentBytes = (payload: RecordedPayload) => {
      const { subject_cn, is_cn_watched, is_cn_appended, ...sent } = payload;
      return Buffer.byteLength(JSON.stringify(sent));
    };
    const names = numbered(30_000, "attacker.example.net");
    const short = sentBytes(recordedOf({ all_sans: names, source_log: "" }));
    return recordedOf({ all_sans: names, source_log: "x".repeat(bytes - short) });
  };
  const recordedMaxBytes = whole.maxBytes - 4_096;

  test("what fits with its verdict stays as it is, one byte more is cut", () => {
    for (const bytes of [recordedMaxBytes - 1, recordedMaxBytes]) {
      const payload = recordedOfBytes(bytes);
      expect(fitRecordedPayload(payload)).toBe(payload);
    }
    const cut = fitRecordedPayload(recordedOfBytes(recordedMaxBytes + 1));
    expect(cut.source_log!.length).toBeLessThan(17_000);
  });

  test("the body of a cut one fits whatever the verdict, and later cuts add up", () => {
    const names = numbered(200_000, "attacker.example.net");
    const cut = fitRecordedPayload(
      recordedOf({ all_sans: names, matched_sans: ["example.org"], names_truncated: 5 }),
    );
    expect(cut.names_truncated).toBe(5 + 200_001 - (cut.all_sans.length + 1));
    const payload = toPayload({ ...fixed, reason: "r".repeat(2_000), payload: cut });
    expect(fitPayload(payload)(whole)).toBe(JSON.stringify(payload));
    const least = JSON.parse(fitPayload(payload)(small)) as Payload;
    expect(least.names_truncated).toBe(5 + 200_001 - (least.all_sans.length + 1));
  });

  test("one of a row that is stripped to its names is cut, too", () => {
    const names = numbered(100_000, "bücher.example.org");
    const update = {
      ...final(theirs.issue({ dnsNames: ["example.org"] }), { feed: "lite" }),
      allDomains: names,
    };
    const match = { entries: ["example.org"], sans: names.slice(0, 10), namesTruncated: 0 };
    const row = toCertificateRow(update, weigh(update), match);
    const { sans, payload, row_bytes } = stripped(row, "refused");
    expect([sans.length, sans[0]]).toEqual([100_000, "n0.b?cher.example.org"]);
    expect(row_bytes).toBeGreaterThan(JSON.stringify(sans).length);
    const body = toPayload({ ...fixed, payload });
    expect(fitPayload(body)(whole)).toBe(JSON.stringify(body));
    expect(payload.names_truncated).toBeGreaterThan(50_000);
  });

  test("what the verdict needs is never cut", () => {
    const subject_cn = "c".repeat(2_000_000);
    const cut = fitRecordedPayload(
      recordedOf({
        all_sans: numbered(200_000, "example.org"),
        subject_cn,
        is_cn_watched: true,
        is_cn_appended: true,
      }),
    );
    expect(cut).toMatchObject({ subject_cn, is_cn_watched: true, is_cn_appended: true });
  });
});

test("a million names are cut in seconds", () => {
  const startedMs = performance.now();
  const sent = bodyOf({ matched_sans: ["example.org"], all_sans: numbered(1_000_000, "example.org") }, whole);
  expect(sent.matched_sans).toEqual(["example.org"]);
  expect(performance.now() - startedMs).toBeLessThan(60_000);
});
