import { createHash, verify, X509Certificate } from "node:crypto";
import { rootCertificates } from "node:tls";
import { describe, expect, test } from "vitest";
import { createAuthority, type Issuance } from "../../src/demo/certificates.ts";
import {
  boolean,
  contextConstructed,
  contextPrimitive,
  objectIdentifier,
  octetString,
  sequence,
} from "../../src/demo/der.ts";
import { poisonExtension, sctListExtension, signedPrecertData } from "../../src/demo/sct.ts";
import { preCertTbs, tbsSha256 } from "../../src/issuance/tbs.ts";
import { certificateOf, extension, nested, outline, tbsOf } from "../support/hand-made-certificates.ts";

const authority = createAuthority({ organization: "Example Trust", commonName: "E1" });
const sha256Hex = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

describe("precertificate and final certificate", () => {
  test.each([0, 1, 2, 5, 20, 100, 1_000, 5_000])("with %i names hash equal", (count) => {
    const dnsNames = Array.from({ length: count }, (_, i) => `host-${i}.example.org`);
    const { precertificateDer, certificateDer, preCert } = authority.issue({
      dnsNames,
      commonName: "example.org",
    });
    expect(tbsSha256(precertificateDer)).toBe(sha256Hex(preCert.tbsDer));
    expect(tbsSha256(certificateDer)).toBe(sha256Hex(preCert.tbsDer));
  });

  test("hash equal at every length around the steps of DER's length octets", () => {
    // The list of extensions passes 127, 128, 255, 256, 65,535 and 65,536 octets, with the removed one or without it.
    for (const around of [0x80, 0x100, 0x1_0000]) {
      for (let padding = Math.max(0, around - 300); padding < around + 20; padding++) {
        const rest = extension("1.2.3", octetString(Buffer.alloc(padding)));
        const expected = sha256Hex(tbsOf(rest));
        for (const removed of [poisonExtension(), sctListExtension([Buffer.alloc(120)])]) {
          expect(tbsSha256(certificateOf(tbsOf(removed, rest)))).toBe(expected);
          expect(tbsSha256(certificateOf(tbsOf(rest, removed)))).toBe(expected);
        }
      }
    }
  });

  test("of another issuance hash differently", () => {
    const request = {
      dnsNames: ["example.org"],
      serial: Buffer.from("7b01", "hex"),
      notBeforeEpochSeconds: 1_800_000_000,
    };
    const [one, copycat] = [authority.issue(request), authority.issue(request)];
    expect(tbsSha256(one.certificateDer)).not.toBe(tbsSha256(copycat.certificateDer));
  });
});

describe("the SCT of a precertificate verifies against what the final certificate gives", () => {
  const issuance = authority.issue({ dnsNames: ["example.org", "*.example.org"] });
  const tbs = preCertTbs(issuance.certificateDer)!;

  test("which embeds it", () => {
    expect(issuance.certificateDer.includes(issuance.sct)).toBe(true);
    expect(isSctOver(issuance, tbs)).toBe(true);
  });

  test("but not when one bit is another, nor with an extension left in it", () => {
    const other = Buffer.from(tbs);
    other[100] = other[100]! ^ 1;
    expect(isSctOver(issuance, other)).toBe(false);
    expect(isSctOver(issuance, tbsElement(issuance.certificateDer))).toBe(false);
  });
});

describe("what is not removed", () => {
  const rest = extension("1.2.3", octetString(Buffer.from("opaque")));
  const notCritical = sequence(objectIdentifier("1.2.4"), boolean(false), octetString(Buffer.alloc(3)));

  test("a certificate with neither extension is hashed as it is", () => {
    const { der: root } = authority.certificate;
    expect(preCertTbs(root)).toEqual(tbsElement(root));
    expect(tbsSha256(certificateOf(tbsOf()))).toBe(sha256Hex(tbsOf()));
  });

  test("nor from the certificates of the public roots", () => {
    expect(rootCertificates.length).toBeGreaterThan(100);
    for (const { raw, subject } of rootCertificates.map((pem) => new X509Certificate(pem))) {
      expect(tbsSha256(raw), subject).toBe(sha256Hex(tbsElement(raw)));
    }
  });

  test.each([
    ["between others", [rest, poisonExtension(), notCritical], [rest, notCritical]],
    ["both, the one behind the other", [sctListExtension([]), poisonExtension(), rest], [rest]],
    ["both, apart", [poisonExtension(), rest, sctListExtension([]), notCritical], [rest, notCritical]],
    [
      "a poison that is not critical",
      [extension("1.3.6.1.4.1.11129.2.4.3", octetString(Buffer.alloc(0))), rest],
      [rest],
    ],
    [
      "an extension with FALSE written out, which DER leaves out",
      [notCritical, poisonExtension()],
      [notCritical],
    ],
    [
      "OCSP's SCT list and other neighbours",
      [extension("1.3.6.1.4.1.11129.2.4.5", octetString(rest)), rest],
      undefined,
    ],
    [
      "a value nested deep",
      [extension("1.2.3", octetString(nested(1_000))), poisonExtension()],
      [extension("1.2.3", octetString(nested(1_000)))],
    ],
  ])("%s", (_, extensions, kept) => {
    expect(preCertTbs(certificateOf(tbsOf(...extensions)))).toEqual(tbsOf(...(kept ?? extensions)));
  });

  test("an empty list stays where the only extension goes, as in certificate-transparency-go", () => {
    const expected = sequence(...outline, contextConstructed(3, sequence()));
    expect(preCertTbs(certificateOf(tbsOf(poisonExtension())))).toEqual(expected);
    expect(preCertTbs(certificateOf(tbsOf(sctListExtension([]))))).toEqual(expected);
  });

  test("unique identifiers, and version 1 by absence", () => {
    const ids = [contextPrimitive(1, Buffer.from([0, 1])), contextPrimitive(2, Buffer.from([0, 2]))];
    const tbs = (...extensions: Buffer[]) =>
      sequence(...outline.slice(1), ...ids, contextConstructed(3, sequence(...extensions)));
    expect(preCertTbs(certificateOf(tbs(poisonExtension(), rest)))).toEqual(tbs(rest));
  });

  test("the bytes handed in", () => {
    const { precertificateDer } = authority.issue({ dnsNames: ["example.org"] });
    const before = Buffer.from(precertificateDer);
    preCertTbs(precertificateDer);
    expect(precertificateDer).toEqual(before);
  });
});

/** Where the TBSCertificate of a certificate is whose two outermost lengths take two octets. */
function tbsElement(certificate: Buffer): Buffer {
  expect([certificate.readUInt16BE(0), certificate.readUInt16BE(4)]).toEqual([0x3082, 0x3082]);
  return certificate.subarray(4, 8 + certificate.readUInt16BE(6));
}

/** Whether the SCT is the log's over this TBSCertificate. */
function isSctOver({ sct, sctTimestampMs, preCert }: Issuance, tbs: Uint8Array): boolean {
  const signed = signedPrecertData(
    { issuerKeyHash: preCert.issuerKeyHash, tbsDer: Buffer.from(tbs) },
    sctTimestampMs,
  );
  // Version, log id, timestamp and no extensions, then hash, algorithm and the signature's length (RFC 6962 section 3.2).
  const signature = sct.subarray(1 + 32 + 8 + 2 + 2 + 2);
  return verify("sha256", signed, authority.ctLogKey.publicKey, signature);
}
