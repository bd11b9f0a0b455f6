import { createHash, verify, X509Certificate } from "node:crypto";
import { describe, expect, test } from "vitest";
import { createAuthority } from "../../src/demo/certificates.ts";
import { signedPrecertData } from "../../src/demo/sct.ts";

const root = createAuthority({ country: "US", organization: "Example Trust", commonName: "Example Root" });
const authority = createAuthority({ organization: "Example Trust", commonName: "E1", parent: root });
const day = 86_400;

describe("authority", () => {
  test("a root is self-signed, a subordinate signed by its parent", () => {
    const rootCertificate = new X509Certificate(root.certificate.der);
    const certificate = new X509Certificate(authority.certificate.der);
    expect(rootCertificate.verify(root.publicKey)).toBe(true);
    expect(certificate.verify(root.publicKey)).toBe(true);
    expect(certificate.verify(authority.publicKey)).toBe(false);
    expect(certificate.checkIssued(rootCertificate)).toBe(true);
    expect([rootCertificate.ca, certificate.ca]).toEqual([true, true]);
    expect(authority.chain).toEqual([authority.certificate, root.certificate]);
  });
});

describe("issuance", () => {
  const notBeforeEpochSeconds = 1_761_915_088;
  const issuance = authority.issue({
    dnsNames: ["example.org", "*.example.org"],
    organization: "Example & Söhne",
    serial: Buffer.from("00b759", "hex"),
    notBeforeEpochSeconds,
    notAfterEpochSeconds: notBeforeEpochSeconds + 90 * day,
  });

  test.each(["certificateDer", "precertificateDer"] as const)("%s says what was asked", (kind) => {
    const certificate = new X509Certificate(issuance[kind]);
    expect(certificate.verify(authority.publicKey)).toBe(true);
    expect(certificate.checkIssued(new X509Certificate(authority.certificate.der))).toBe(true);
    expect(certificate.ca).toBe(false);
    expect(certificate.serialNumber).toBe("B759");
    expect(certificate.subject).toBe("O=Example & Söhne\nCN=example.org");
    expect(certificate.issuer).toBe("O=Example Trust\nCN=E1");
    expect(certificate.subjectAltName).toBe("DNS:example.org, DNS:*.example.org");
    expect(Date.parse(certificate.validFrom) / 1000).toBe(notBeforeEpochSeconds);
    expect(Date.parse(certificate.validTo) / 1000).toBe(notBeforeEpochSeconds + 90 * day);
    expect(certificate.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1"]);
  });

  test("the two differ, and one has the poison, the other the SCT list", () => {
    const poison = Buffer.from("060a2b06010401d6790204030101ff04020500", "hex");
    const sctList = Buffer.from("060a2b06010401d679020402", "hex");
    expect(issuance.precertificateDer.includes(poison)).toBe(true);
    expect(issuance.precertificateDer.includes(sctList)).toBe(false);
    expect(issuance.certificateDer.includes(poison)).toBe(false);
    expect(issuance.certificateDer.includes(sctList)).toBe(true);
    expect(issuance.certificateDer.includes(issuance.sct)).toBe(true);
  });

  test("the SCT verifies with the log's key, over the precertificate", () => {
    const { preCert, sct, sctTimestampMs } = issuance;
    const { logId, publicKey } = authority.ctLogKey;
    expect(sct[0]).toBe(0);
    expect(sct.subarray(1, 33)).toEqual(logId);
    expect(sct.readBigUInt64BE(33)).toBe(BigInt(sctTimestampMs));
    const signature = sct.subarray(47);
    expect(signature.length).toBe(sct.readUInt16BE(45));
    expect(verify("sha256", signedPrecertData(preCert, sctTimestampMs), publicKey, signature)).toBe(true);
    expect(verify("sha256", signedPrecertData(preCert, sctTimestampMs + 1), publicKey, signature)).toBe(
      false,
    );
  });

  test("the PreCert is that of this issuer and issuance", () => {
    const spki = authority.publicKey.export({ type: "spki", format: "der" });
    expect(issuance.preCert.issuerKeyHash).toEqual(createHash("sha256").update(spki).digest());
    // Only the lengths at its head and before its extensions, and what follows those, are different in the
    // certificates: from the serial to the key, and the extensions, all three have the same bytes.
    const { tbsDer } = issuance.preCert;
    const serial = Buffer.from("020300b759", "hex");
    const subjectKey = new X509Certificate(issuance.certificateDer).publicKey;
    const subjectSpki = subjectKey.export({ type: "spki", format: "der" });
    const spkiEnd = tbsDer.indexOf(subjectSpki) + subjectSpki.length;
    const extensionsHead = tbsDer.subarray(spkiEnd, spkiEnd + 6);
    expect(extensionsHead.toString("hex")).toMatch(/^a381..3081..$/);
    const extensions = tbsDer.subarray(spkiEnd + 6);
    for (const certificate of [issuance.certificateDer, issuance.precertificateDer]) {
      expect(certificate.includes(tbsDer.subarray(tbsDer.indexOf(serial), spkiEnd))).toBe(true);
      expect(certificate.includes(extensions)).toBe(true);
    }
    const poison = Buffer.from("3013060a2b06010401d67902", "hex");
    const { precertificateDer } = issuance;
    expect(precertificateDer.indexOf(poison)).toBe(precertificateDer.indexOf(extensions) + extensions.length);
  });

  test.each([
    ["00b7590001", "B7590001"],
    ["0a0b", "0A0B"],
    ["80", "80"],
    ["0000", "00"],
  ])("serial %s reads %s", (octets, serialHex) => {
    const issued = authority.issue({ dnsNames: ["example.org"], serial: Buffer.from(octets, "hex") });
    expect(issued.fields.serialHex).toBe(serialHex);
    const read = new X509Certificate(issued.certificateDer).serialNumber;
    expect(read.padStart(serialHex.length, "0")).toBe(serialHex);
  });

  test("serials are random by default, positive and never zero", () => {
    const serials = Array.from({ length: 50 }, () => authority.issue({ dnsNames: [] }).fields.serialHex);
    expect(new Set(serials).size).toBe(50);
    for (const serial of serials) expect(serial).toMatch(/^[0-7][0-9A-F]{31}$/);
  });

  test("no names, no SAN extension and no CN", () => {
    const certificate = new X509Certificate(authority.issue({ dnsNames: [] }).certificateDer);
    expect(certificate.subjectAltName).toBeUndefined();
    expect(certificate.subject).toBeUndefined();
  });
});
