import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { createAuthority } from "../../src/demo/certificates.ts";
import type { CtLog, LogEntry } from "../../src/demo/log-entry.ts";
import { type CertstreamServer, type Feed, wireMessage } from "../../src/demo/wire.ts";

const root = createAuthority({ country: "US", organization: "Example Trust", commonName: "Example Root" });
const issuance = createAuthority({ organization: "Example Trust", commonName: "E1", parent: root }).issue({
  dnsNames: ["a.example.org", "b.example.org"],
  commonName: "cn.example.org",
  serial: Buffer.from("0a0b", "hex"),
});
const rfc6962: CtLog = { name: "Test log", url: "https://log.example", type: "rfc6962" };
const tiled: CtLog = { name: "Tiled log", url: "https://tiled.example", type: "tiled" };

function message(part: Partial<LogEntry>, server: CertstreamServer, feed: Feed = "full") {
  const entry: LogEntry = { issuance, kind: "X509LogEntry", log: rfc6962, index: 1_234_567, ...part };
  return JSON.parse(wireMessage(entry, { feed, server }));
}

const sha1 = (der: Buffer): string =>
  createHash("sha1").update(der).digest("hex").toUpperCase().match(/../g)!.join(":");

// What certstream-server-go sends is held against the real server in test/interop.
describe("wireMessage", () => {
  test("go: data before message_type, chain before leaf_cert, newline at the end", () => {
    const text = wireMessage({ issuance, kind: "X509LogEntry", log: rfc6962, index: 1 });
    expect(text).toMatch(
      /^\{"data":\{"cert_index":1,.*"chain":\[.*"leaf_cert":\{.*"message_type":"[a-z_]+"\}\n$/,
    );
    expect(text.slice(0, -1)).not.toContain("\n");
  });

  test.each(["go", "rust", "calidog"] as const)("%s: the lite feed has neither chain nor DER", (server) => {
    expect(wireMessage({ issuance, kind: "X509LogEntry", log: rfc6962, index: 1 }, { server })).toContain(
      "as_der",
    );
    const lite = message({}, server, "lite");
    expect(JSON.stringify(lite)).not.toMatch(/as_der|chain/);
    expect(lite.data.leaf_cert.fingerprint).toBe(sha1(issuance.certificateDer));
  });

  test.each(["go", "rust", "calidog"] as const)(
    "%s: fingerprint and DER are of the kind logged",
    (server) => {
      const { leaf_cert } = message({ kind: "PrecertLogEntry" }, server).data;
      expect(leaf_cert.fingerprint).toBe(sha1(issuance.precertificateDer));
      expect(leaf_cert.as_der).toBe(issuance.precertificateDer.toString("base64"));
    },
  );

  test("go: a tiled precertificate has the hashes of nothing, no DER, no chain, no link", () => {
    const { data } = message({ kind: "PrecertLogEntry", log: tiled }, "go");
    expect(data.leaf_cert.fingerprint).toBe(sha1(Buffer.alloc(0)));
    expect(data.leaf_cert).not.toHaveProperty("as_der");
    expect(data).not.toHaveProperty("chain");
    expect([data.cert_link, data.source.type]).toEqual(["", "tiled"]);
  });

  test("rust: message_type first, CN before the SANs, absent attributes left out", () => {
    const { data, ...rest } = message({ log: tiled }, "rust");
    expect(Object.keys({ ...rest, data })[0]).toBe("message_type");
    expect(data.leaf_cert.all_domains).toEqual(["cn.example.org", "a.example.org", "b.example.org"]);
    expect(data.leaf_cert.issuer).toEqual({
      CN: "E1",
      O: "Example Trust",
      aggregated: "/CN=E1/O=Example Trust",
    });
    expect(data.chain[0]).not.toHaveProperty("all_domains");
    expect(data.chain[0]).not.toHaveProperty("as_der");
    expect(data.cert_link).toBe("https://tiled.example/tile/data/x004/822");
  });

  test("calidog: the issuer is the first of the chain, the serial has no zero in front", () => {
    const { leaf_cert, chain } = message({}, "calidog").data;
    expect(leaf_cert).not.toHaveProperty("issuer");
    expect(chain[0].subject.CN).toBe("E1");
    expect(chain[0].as_der).toBe(issuance.chain[0]!.der.toString("base64"));
    expect(leaf_cert.serial_number).toBe("A0B");
  });
});
