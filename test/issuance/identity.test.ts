import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { CertUpdate } from "../../src/feed/message.ts";
import { weigh } from "../../src/issuance/evidence.ts";
import { identify } from "../../src/issuance/identity.ts";
import { normalizeSerial } from "../../src/issuance/serial.ts";
import { tbsSha256 } from "../../src/issuance/tbs.ts";
import { final, ours, precertificate, theirs, willow } from "../support/updates.ts";

const issuance = ours.issue({ dnsNames: ["example.org", "*.example.org"], commonName: "Example" });
const base = final(issuance);
/** The JSON alone. */
const said = { ...base, asDerBase64: null };
const idOf = (change: Partial<CertUpdate>) => identify({ ...said, ...change }).issuanceId;
const keyOf = (update: CertUpdate) => identify(update).certificateKey;

describe("the issuance", () => {
  test("is the same for precertificate and final, of every server and feed, tiled or not", () => {
    const updates = (["go", "rust", "calidog"] as const).flatMap((server) => [
      final(issuance, { server }),
      precertificate(issuance, { server }),
    ]);
    updates.push(
      final(issuance, { feed: "lite" }),
      precertificate(issuance, { feed: "lite", server: "rust" }),
    );
    updates.push(precertificate(issuance, { log: willow }), final(issuance, { log: willow }));
    expect(new Set(updates.map((update) => identify(update).issuanceId)).size).toBe(1);
    expect(idOf({})).toMatch(/^[0-9a-f]{64}$/);
  });

  test.each([
    [
      "the serial in another notation",
      { serial: `00:${base.serial!.toLowerCase().match(/../g)!.join(":")}` },
    ],
    [
      "the names in another order and case, repeated",
      { allDomains: ["EXAMPLE", "*.Example.org", "example.org", "example.org"] },
    ],
    [
      "another log, link, time and kind",
      { sourceName: "x", certLink: null, seenEpochSeconds: 1, updateType: "x" },
    ],
    ["another fingerprint, where there is a serial", { fingerprintSha1: "00".repeat(20) }],
  ])("is the same with %s", (_, change) => {
    expect(idOf(change)).toBe(idOf({}));
  });

  test.each([
    ["issuer CN", { issuerCn: "E8" }],
    ["issuer O", { issuerO: null }],
    ["issuer CN in the place of O", { issuerCn: base.issuerO, issuerO: base.issuerCn }],
    ["serial", { serial: "01" }],
    ["beginning", { notBeforeEpochSeconds: 1 }],
    ["missing end", { notAfterEpochSeconds: null }],
    ["names", { allDomains: [...base.allDomains, "a.example.org"] }],
    ["names, joined", { allDomains: [base.allDomains.join(",")] }],
  ])("is another with another %s", (_, change) => {
    expect(idOf(change)).not.toBe(idOf({}));
  });

  test("without serial has the fingerprint in its place, then the whole leaf", () => {
    const noSerial = { serial: null };
    expect(idOf({ ...noSerial, fingerprintSha1: "aa".repeat(20) })).not.toBe(
      idOf({ ...noSerial, fingerprintSha1: "bb".repeat(20) }),
    );
    const nothing = { serial: null, fingerprintSha1: null };
    expect(idOf({ ...nothing, leafJson: "{}" })).not.toBe(idOf({ ...nothing, leafJson: "[]" }));
  });

  test("never fails, whatever is missing", () => {
    const empty = Object.fromEntries(Object.keys(base).map((key) => [key, null]));
    const key = expect.stringMatching(/^issuance:[0-9a-f]{64}:final$/);
    expect(identify({ ...(empty as unknown as CertUpdate), allDomains: [] })).toEqual({
      issuanceId: expect.stringMatching(/^[0-9a-f]{64}$/),
      certificateKey: key,
      otherKeys: [],
      tbsSha256: null,
      serialKey: null,
      earlier: { key, tbsSha256: null },
    });
    expect(identify({ ...said, allDomains: ["\ud800", "\0"] }).issuanceId).toMatch(/^[0-9a-f]{64}$/);
  });

  test("is the certificate's own, whatever the JSON beside its DER says", () => {
    const lie: Partial<CertUpdate> = {
      fingerprintSha1: "aa".repeat(20),
      allDomains: ["elsewhere.example"],
      serial: "01",
      issuerCn: "Nobody",
      notBeforeEpochSeconds: 1,
      updateType: "PrecertLogEntry",
    };
    expect(identify({ ...base, ...lie })).toMatchObject({
      issuanceId: idOf({}),
      certificateKey: keyOf(base),
      tbsSha256: tbsSha256(issuance.certificateDer),
    });
    expect(weigh({ ...base, ...lie }).contradictions).toEqual([
      "fingerprint",
      "names",
      "serial",
      "not_before",
      "issuer CN",
      "update_type",
    ]);
    expect(weigh(base).contradictions).toEqual([]);
  });
});

describe("the certificate", () => {
  const derKey = `der:${createHash("sha256").update(issuance.certificateDer).digest("hex")}`;
  const claim = `claim:${base.fingerprintSha1}:${idOf({})}:final`;

  test("is the hash of its DER, in every log and from every server", () => {
    expect(keyOf(base)).toBe(derKey);
    expect(keyOf(final(issuance, { server: "rust" }))).toBe(derKey);
    expect(keyOf({ ...base, fingerprintSha1: null })).toBe(derKey);
    expect(keyOf(precertificate(issuance))).not.toBe(derKey);
    const hash = tbsSha256(issuance.certificateDer);
    expect(identify(base).tbsSha256).toBe(hash);
    expect(identify(precertificate(issuance)).tbsSha256).toBe(hash);
  });

  test("without DER is its claimed fingerprint with issuance and kind, by which one with DER can be found, too", () => {
    const lite = final(issuance, { server: "rust", feed: "lite" });
    expect(identify(lite)).toMatchObject({ certificateKey: claim, tbsSha256: null });
    expect(identify(base).otherKeys).toEqual([claim, `sha1:${base.fingerprintSha1}`]);
    expect(keyOf({ ...lite, updateType: "PrecertLogEntry" })).not.toBe(claim);
    expect(keyOf({ ...lite, serial: "01" })).not.toBe(claim);
  });

  test("is the bytes sent as DER, with issuance and kind, where they are no certificate", () => {
    const junk = { ...base, asDerBase64: Buffer.from("no certificate").toString("base64") };
    const hash = createHash("sha256").update("no certificate").digest("hex");
    expect(identify(junk)).toMatchObject({
      certificateKey: `junk:${hash}:${idOf({})}:final`,
      tbsSha256: hash,
      otherKeys: [`sha1:${base.fingerprintSha1}`],
    });
    expect(keyOf({ ...junk, serial: "01" })).not.toBe(keyOf(junk));
  });

  test("is its issuance and kind where there is neither", () => {
    const tiled = precertificate(issuance, { log: willow });
    expect([tiled.fingerprintSha1, tiled.asDerBase64]).toEqual([null, null]);
    expect(keyOf(tiled)).toBe(`issuance:${idOf({})}:precertificate`);
    const other = precertificate(theirs.issue({ dnsNames: ["example.org"] }), { log: willow });
    expect(keyOf(other)).not.toBe(keyOf(tiled));
  });
});

test.each([
  ["00b7590a", "B7590A"],
  ["b7:59:0A", "B7590A"],
  ["0xB7590A", "B7590A"],
  [" b7 59 0a ", "B7590A"],
  ["0010", "10"],
  ["00", null],
  ["", null],
  ["zz", null],
  [null, null],
])("the serial number %j is %j", (serial, normal) => {
  expect(normalizeSerial(serial)).toBe(normal);
});
