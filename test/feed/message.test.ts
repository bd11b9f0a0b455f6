import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createAuthority } from "../../src/demo/certificates.ts";
import type { CtLog, LogEntry } from "../../src/demo/log-entry.ts";
import { type CertstreamServer, wireMessage } from "../../src/demo/wire.ts";
import { type CertUpdate, parseMessage } from "../../src/feed/message.ts";

const issuance = createAuthority({ country: "US", organization: "Example Trust", commonName: "E1" }).issue({
  dnsNames: ["a.example.org", "*.b.example.org"],
  commonName: "cn.example.org",
  serial: Buffer.from("0a0b0c", "hex"),
  notBeforeEpochSeconds: 1_761_915_088,
  notAfterEpochSeconds: 1_769_694_679,
});
const rfc6962: CtLog = { name: "Test log", url: "https://log.example", type: "rfc6962" };
const tiled: CtLog = { name: "Tiled log", url: "https://tiled.example", type: "tiled" };
const entry: LogEntry = {
  issuance,
  kind: "X509LogEntry",
  log: rfc6962,
  index: 1_234_567,
  seenEpochSeconds: 1_761_918_776.521,
  timestampEpochSeconds: 1_761_918_700.25,
};
const sha1 = (der: Buffer) => createHash("sha1").update(der).digest("hex");

const parse = (value: unknown) =>
  parseMessage(Buffer.from(typeof value === "string" ? value : JSON.stringify(value)));

function updateOf(text: string): CertUpdate {
  const message = parse(text);
  if (message.type !== "certificate_update") throw new Error(`not an update: ${JSON.stringify(message)}`);
  return message.update;
}

describe("messages as servers write them", () => {
  describe.each(["go", "rust", "calidog"] as const)("%s", (server: CertstreamServer) => {
    test.each(["full", "lite"] as const)("%s feed, final certificate", (feed) => {
      const update = updateOf(wireMessage(entry, { server, feed }));
      const withoutIssuer = server === "calidog" && feed === "lite"; // it would be in the chain
      expect(update).toEqual({
        updateType: "X509LogEntry",
        certIndex: 1_234_567,
        certLink: "https://log.example/ct/v1/get-entries?start=1234567&end=1234567",
        seenEpochSeconds: 1_761_918_776.521,
        sourceName: "Test log",
        sourceUrl: "https://log.example",
        sourceTimestampEpochSeconds: server === "calidog" ? null : 1_761_918_700.25,
        fingerprintSha1: sha1(issuance.certificateDer),
        allDomains: expect.arrayContaining(["a.example.org", "*.b.example.org", "cn.example.org"]),
        subjectCn: "cn.example.org",
        issuerCn: withoutIssuer ? null : "E1",
        issuerO: withoutIssuer ? null : "Example Trust",
        issuerAggregated: withoutIssuer ? null : "/C=US/CN=E1/O=Example Trust",
        serial: expect.stringMatching(/^0?A0B0C$/),
        notBeforeEpochSeconds: 1_761_915_088,
        notAfterEpochSeconds: 1_769_694_679,
        asDerBase64: feed === "full" ? issuance.certificateDer.toString("base64") : null,
        leafJson: null,
      });
      expect(update.allDomains).toHaveLength(3);
    });

    test("precertificate", () => {
      const update = updateOf(wireMessage({ ...entry, kind: "PrecertLogEntry" }, { server }));
      expect(update.updateType).toBe("PrecertLogEntry");
      expect(update.fingerprintSha1).toBe(sha1(issuance.precertificateDer));
    });

    test("domains only", () => {
      expect(parse(wireMessage(entry, { server, feed: "domains-only" }))).toEqual({ type: "dns_entries" });
    });
  });

  test("go, static-ct precertificate: the hash of nothing is no fingerprint, the empty link is none", () => {
    const update = updateOf(wireMessage({ ...entry, log: tiled, kind: "PrecertLogEntry" }));
    expect(update).toMatchObject({
      fingerprintSha1: null,
      certLink: null,
      asDerBase64: null,
      leafJson: null,
      serial: "0A0B0C",
    });
  });

  test.each(['{"message_type":"heartbeat"}', '{"message_type":"heartbeat","timestamp":1761918776.5}\n'])(
    "%s",
    (text) => {
      expect(parse(text)).toEqual({ type: "heartbeat" });
    },
  );
});

describe("what is no certificate update", () => {
  test.each(["", "not JSON", "{", '{"a":1}{"a":1}', "NaN", "\u0000", "\ufeff{}"])("not JSON: %j", (text) => {
    expect(parse(text)).toMatchObject({ type: "refused", reason: "not_json" });
  });
  test.each(["null", "[]", '[{"message_type":"heartbeat"}]', "7", '"heartbeat"', "true"])(
    "not an object: %s",
    (text) => {
      expect(parse(text)).toMatchObject({ type: "refused", reason: "not_an_object", detail: text });
    },
  );
  test.each([
    undefined,
    null,
    [],
    "x",
    7,
    true,
    {},
    { leaf_cert: null },
    { leaf_cert: [] },
    { leaf_cert: "x" },
  ])("no certificate: data is %j", (data) => {
    expect(parse({ message_type: "certificate_update", data })).toMatchObject({
      type: "refused",
      reason: "no_certificate",
    });
  });
  test.each([
    undefined,
    null,
    7,
    {},
    "",
    "constructor",
    "__proto__",
    "toString",
    "certificate_Update",
    ["heartbeat"],
  ])("other: message_type is %j", (message_type) => {
    expect(parse({ message_type, data: {} })).toEqual({ type: "other" });
  });
  test("what is shown of a refused message is bounded and a single line of its bytes", () => {
    const message = parseMessage(Buffer.alloc(1_000_000, 0xff));
    expect(message).toMatchObject({ detail: "\u00ff".repeat(80) });
  });
});

describe("one bad field never hides the rest", () => {
  const wrong = [
    undefined,
    null,
    true,
    false,
    0,
    -1,
    1.5,
    1e300,
    "",
    "x",
    [],
    [[]],
    {},
    { CN: 1, O: [], aggregated: {} },
  ];
  const text = wireMessage(entry);
  /** Every place in the message, and the fields of the result that may change when it is spoilt. */
  const places: [path: string[], fields: (keyof CertUpdate)[]][] = [
    [["update_type"], ["updateType"]],
    [["cert_index"], ["certIndex"]],
    [["cert_link"], ["certLink"]],
    [["seen"], ["seenEpochSeconds"]],
    [["source"], ["sourceName", "sourceUrl", "sourceTimestampEpochSeconds"]],
    [["source", "name"], ["sourceName"]],
    [["source", "url"], ["sourceUrl"]],
    [["source", "timestamp"], ["sourceTimestampEpochSeconds"]],
    [["chain"], []],
    [["leaf_cert", "fingerprint"], []], // `sha1` says the same
    [["leaf_cert", "sha1"], []],
    [["leaf_cert", "all_domains"], ["allDomains"]],
    [["leaf_cert", "subject"], ["subjectCn"]],
    [["leaf_cert", "subject", "CN"], ["subjectCn"]],
    [
      ["leaf_cert", "issuer"],
      ["issuerCn", "issuerO", "issuerAggregated"],
    ],
    [["leaf_cert", "issuer", "CN"], ["issuerCn"]],
    [["leaf_cert", "issuer", "O"], ["issuerO"]],
    [["leaf_cert", "issuer", "aggregated"], ["issuerAggregated"]],
    [["leaf_cert", "serial_number"], ["serial"]],
    [["leaf_cert", "not_before"], ["notBeforeEpochSeconds"]],
    [["leaf_cert", "not_after"], ["notAfterEpochSeconds"]],
    [["leaf_cert", "as_der"], ["asDerBase64"]],
    [["leaf_cert", "extensions"], []],
  ];
  const whole = updateOf(text);

  test.each(places)("%j", (path, fields) => {
    for (const value of wrong) {
      const message = JSON.parse(text);
      let parent = message.data;
      for (const key of path.slice(0, -1)) parent = parent[key];
      parent[path.at(-1)!] = value;
      const update = updateOf(JSON.stringify(message));
      for (const field of Object.keys(whole) as (keyof CertUpdate)[]) {
        if (!fields.includes(field))
          expect(update[field], `${field} for ${JSON.stringify(value)}`).toEqual(whole[field]);
      }
      expectWellTyped(update);
    }
  });

  test("times out of the range of certificates are none, fractions of a validity are cut", () => {
    const of = (not_before: unknown) =>
      updateOf(JSON.stringify({ message_type: "certificate_update", data: { leaf_cert: { not_before } } }))
        .notBeforeEpochSeconds;
    expect([1e300, -1e300, 253_402_300_800, -62_135_596_801, "1", null].map(of)).toEqual(Array(6).fill(null));
    expect([253_402_300_799, -62_135_596_800, 0, 1.9, -1.9].map(of)).toEqual([
      253_402_300_799, -62_135_596_800, 0, 1, -1,
    ]);
  });

  test("without all_domains, the names of the SAN extension and the CN stand in", () => {
    const leaf = {
      subject: { CN: "cn.example.org" },
      extensions: { subjectAltName: "DNS:a.example.org, DNS:*.b.example.org, IP Address:192.0.2.1" },
    };
    const update = updateOf(
      JSON.stringify({ message_type: "certificate_update", data: { leaf_cert: leaf } }),
    );
    expect(update.allDomains).toEqual(["a.example.org", "*.b.example.org", "cn.example.org"]);
  });

  test("keys of Object.prototype are ordinary keys", () => {
    const leaf = `{"__proto__":{"all_domains":["p.example"],"serial_number":"01"},"constructor":7,"all_domains":["a.example"],"toString":null}`;
    const update = updateOf(
      `{"__proto__":{"message_type":"heartbeat"},"message_type":"certificate_update","data":{"leaf_cert":${leaf}}}`,
    );
    expect(update).toMatchObject({ allDomains: ["a.example"], serial: null, issuerCn: null });
    expect(Object.getPrototypeOf({}).all_domains).toBeUndefined();
    expect(parse('{"__proto__":{"message_type":"heartbeat"}}')).toEqual({ type: "other" });
  });

  test("the leaf itself is kept where nothing else identifies it, or given up where Node.js cannot write it", () => {
    const leaf = { all_domains: ["a.example"], serial_number: "", x: 1 };
    expect(
      updateOf(JSON.stringify({ message_type: "certificate_update", data: { leaf_cert: leaf } })).leafJson,
    ).toBe(JSON.stringify(leaf));
    const deep = `${"[".repeat(200_000)}${"]".repeat(200_000)}`;
    const deepLeaf = `{"all_domains":["a.example"],"x":${deep}}`;
    const update = updateOf(`{"message_type":"certificate_update","data":{"leaf_cert":${deepLeaf}}}`);
    expect(update.allDomains).toEqual(["a.example"]);
    // JSON.stringify overflows the stack up to Node.js 24, and writes any depth from 26 on.
    expect([null, deepLeaf]).toContain(update.leafJson);
  });

  test("arbitrary JSON in the place of any part: never throws, and what comes out has its types", () => {
    const json = fc.jsonValue({ maxDepth: 3 });
    const certificate = fc.record(
      Object.fromEntries(
        [
          "all_domains",
          "subject",
          "issuer",
          "serial_number",
          "not_before",
          "not_after",
          "fingerprint",
          "sha1",
          "as_der",
          "extensions",
        ].map((key) => [key, json]),
      ),
      { requiredKeys: [] },
    );
    const data = fc.record(
      {
        leaf_cert: certificate,
        chain: json,
        cert_index: json,
        cert_link: json,
        seen: json,
        source: json,
        update_type: json,
      },
      { requiredKeys: ["leaf_cert"] },
    );
    fc.assert(
      fc.property(data, (value) => {
        expectWellTyped(updateOf(JSON.stringify({ message_type: "certificate_update", data: value })));
      }),
    );
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string({ unit: "binary" })), (value) => {
        expect(parse(value).type).toMatch(/^(refused|other)$/);
      }),
    );
    fc.assert(fc.property(fc.uint8Array(), (bytes) => void parseMessage(Buffer.from(bytes))));
  });
});

function expectWellTyped(update: CertUpdate): void {
  const { allDomains, ...fields } = update;
  expect(allDomains.every((name) => typeof name === "string")).toBe(true);
  for (const [name, value] of Object.entries(fields)) {
    if (value === null) continue;
    const type = /EpochSeconds$|Index$/.test(name) ? "number" : "string";
    expect(typeof value, name).toBe(type);
    expect(value).not.toBe("");
  }
}
