import { createHash, X509Certificate } from "node:crypto";
import { rootCertificates } from "node:tls";
import { describe, expect, test } from "vitest";
import { createAuthority } from "../../src/demo/certificates.ts";
import {
  bitString,
  contextConstructed,
  der,
  objectIdentifier,
  octetString,
  sequence,
  set,
} from "../../src/demo/der.ts";
import { poisonExtension, sctListExtension } from "../../src/demo/sct.ts";
import { ecdsaWithSha256 } from "../../src/demo/x509.ts";
import { type ReadCertificate, readDer } from "../../src/issuance/certificate.ts";
import { tbsSha256 } from "../../src/issuance/tbs.ts";
import {
  attribute,
  commonName,
  dns,
  extensionOf,
  generalName,
  type OddFields,
  oddCases,
  oddCertificate,
  oddSpki,
  organization,
  subjectAltName,
} from "../support/odd-certificates.ts";

const hash = (algorithm: "sha1" | "sha256", bytes: Uint8Array) =>
  createHash(algorithm).update(bytes).digest("hex");

/** What is read from a certificate that everybody reads alike. */
function read(bytes: Uint8Array): ReadCertificate {
  const reading = readDer(bytes);
  if (reading.state !== "read") throw new Error(reading.problem);
  return reading.certificate;
}
const oddRead = (fields: OddFields) => read(oddCertificate(fields).der);

describe("one certificate", () => {
  const authority = createAuthority({ country: "US", organization: "Let's Encrypt", commonName: "R11" });
  const issuance = authority.issue({
    dnsNames: ["example.org", "*.example.org"],
    commonName: "cn.example.org",
    serial: Buffer.from("00b7590a", "hex"),
    notBeforeEpochSeconds: 1_800_000_000,
    notAfterEpochSeconds: 2_600_000_000,
  });

  test("says all of itself, in both kinds", () => {
    for (const [bytes, isPrecertificate] of [
      [issuance.precertificateDer, true],
      [issuance.certificateDer, false],
    ] as const) {
      const spki = new X509Certificate(bytes).publicKey.export({ type: "spki", format: "der" });
      expect(readDer(bytes)).toEqual({
        state: "read",
        tbsSha256: tbsSha256(issuance.certificateDer),
        certificate: {
          fingerprintSha1: hash("sha1", bytes),
          fingerprintSha256: hash("sha256", bytes),
          spkiSha256: hash("sha256", spki),
          isPrecertificate,
          serial: "B7590A",
          notBeforeEpochSeconds: 1_800_000_000,
          notAfterEpochSeconds: 2_600_000_000,
          issuerCn: "R11",
          issuerO: "Let's Encrypt",
          issuerAggregated: "/C=US/CN=R11/O=Let's Encrypt",
          subjectCn: "cn.example.org",
          dnsNames: ["example.org", "*.example.org"],
          allDomains: ["example.org", "*.example.org", "cn.example.org"],
        },
      });
    }
  });

  test("is each public root, as OpenSSL reads it", () => {
    for (const pem of rootCertificates) {
      const { raw, serialNumber, validFrom, validTo, subject } = new X509Certificate(pem);
      const root = read(raw);
      expect(root.serial, subject).toBe(serialNumber.replace(/^0+$/, "") || null);
      expect(root.notBeforeEpochSeconds, subject).toBe(Date.parse(validFrom) / 1000);
      expect(root.notAfterEpochSeconds, subject).toBe(Date.parse(validTo) / 1000);
      expect(root.subjectCn, subject).toBe(/^CN=(.*)$/m.exec(subject)?.[1] ?? null);
      expect(root.allDomains).toEqual([]);
    }
  });

  test("is one without extensions, without names, with any case that certstream-server-go sends", () => {
    expect(oddRead(oddCases["no names at all"]!)).toMatchObject({
      issuerCn: null,
      issuerO: null,
      issuerAggregated: null,
      subjectCn: null,
      allDomains: [],
    });
    for (const [name, fields] of Object.entries(oddCases))
      expect(oddRead(fields).spkiSha256, name).toBe(hash("sha256", oddSpki));
  });
});

describe("is written as servers write it:", () => {
  test.each([
    ["serial 0", null],
    ["serial -1", "-1"],
    ["serial -16", "0-10"],
    ["serial -128", "0-80"],
    ["serial -129", "0-81"],
    ["a serial of 21 octets", "F1".repeat(20)],
    ["a serial of 1,000 digits", `7F${"00".repeat(499)}`],
    ["a serial of 1,002 digits", null],
  ])("%s", (name, serial) => {
    expect(oddRead(oddCases[name]!).serial).toBe(serial);
  });

  test("a serial with more octets than its number needs", () => {
    expect(oddRead({ serial: Buffer.from(`${"00".repeat(2_000)}80`, "hex") }).serial).toBe("80");
    expect(oddRead({ serial: Buffer.from(`${"ff".repeat(2_000)}7f`, "hex") }).serial).toBe("0-81");
  });

  test.each([
    ["from year 1", "0001-01-01T00:00:00Z"],
    ["from year 49", "0049-02-28T23:59:59Z"],
    ["from year 99 to 9999", "0099-01-01T00:00:00Z"],
    ["from 1950 to 2049 in UTCTime", "1950-01-01T00:00:00Z"],
    ["from 1968 to 1970 in UTCTime", "1968-12-31T23:59:59Z"],
    ["UTCTime without seconds", "2027-01-01T00:00:00Z"],
    ["UTCTime with an offset", "2026-12-31T22:30:00Z"],
    ["GeneralizedTime with an offset", "2026-12-31T22:30:00Z"],
    ["GeneralizedTime before 2050", "2027-01-01T00:00:00Z"],
  ])("%s", (name, time) => {
    expect(oddRead(oddCases[name]!).notBeforeEpochSeconds).toBe(Date.parse(time) / 1000);
  });

  test.each([
    [0x17, ""],
    [0x17, "270229000000Z"],
    [0x17, "271301000000Z"],
    [0x17, "270101240000Z"],
    [0x17, "27010100000\u0000Z"],
    [0x18, "00000101000000Z"],
    [0x18, "20270101"],
    [0x18, "9".repeat(1_000)],
  ])("tag %i, %j is no time", (tag, text) => {
    expect(oddRead({ notBefore: der(tag, Buffer.from(text, "latin1")) }).notBeforeEpochSeconds).toBeNull();
  });

  test.each([
    ["several CNs", null, "last.example.org"],
    ["several CNs, the last of them empty", null, null],
    ["several Os", "One,,Two", "x"],
    ["T61String, Latin-1", "S\ufffdhne", "b\ufffdcher.example.org"],
    ["T61String, UTF-8", "Söhne", "bücher"],
    ["BMPString", "Söhne 💩", "b.example.org"],
    ["BMPString with an end", "O", null],
    ["BMPString with a lone surrogate", "O\ufffd", "\ufffdx"],
    ["UniversalString", null, "u"],
    ["VisibleString", null, null],
    ["an OCTET STRING for a name", null, "o"],
    ["a value nested 20 deep", null, "d"],
    ["the identifier of CN padded", null, "padded"],
  ])("%s", (name, o, cn) => {
    expect(oddRead(oddCases[name]!)).toMatchObject({ issuerO: o, issuerCn: cn, subjectCn: cn });
  });

  test("text that is not of its type is absent, as in certstream-server-rust", () => {
    const latin1 = Buffer.from("S\xf6hne", "latin1");
    for (const tag of [0x0c, 0x13, 0x16]) {
      const issuer = sequence(organization("One"), organization(der(tag, latin1)));
      expect(oddRead({ issuer }).issuerO).toBe("One");
    }
    expect(oddRead({ subject: sequence(commonName(der(0x1e, Buffer.from("abc")))) }).subjectCn).toBeNull();
  });

  test("all attributes, in the order that the servers share", () => {
    const [c, l, ou, st] = [6, 7, 11, 8].map((id) => attribute(id, der(0x13, Buffer.from(String(id)))));
    const issuer = sequence(
      st!,
      ou!,
      organization("O"),
      l!,
      commonName("CN"),
      c!,
      attribute(5, octetString(oddSpki)),
    );
    expect(oddRead({ issuer }).issuerAggregated).toBe("/C=6/CN=CN/L=7/O=O/OU=11/ST=8");
  });

  test.each([
    ["a SAN that is no UTF-8", ["\ufffd\ufffdA\ufffd.org", "\ufffd".repeat(8), "a.example.org"]],
    ["a SAN with U+0000", ["a.example.org\0.evil.example", "a.example.org"]],
    ["an empty SAN", ["", "b.example.org", "a.example.org"]],
    ["the same name twice", ["b.example.org", "b.example.org", "a.example.org"]],
    ["an IDN as U-label", ["bücher.example.org", "a.example.org"]],
    ["e-mail, URI and IP address among the SANs", ["b.example.org", "a.example.org"]],
    ["a CN that is a SAN in other letters", ["a.example.org", "A.example.ORG"]],
    ["the CN of a CA", ["a.example.org"]],
    ["basic constraints of none", ["a.example.org", "cn.example.org"]],
  ])("%s", (name, allDomains) => {
    expect(oddRead(oddCases[name]!).allDomains).toEqual(allDomains);
  });

  test("the names of all lists of subject alternative names", () => {
    const extensions = [subjectAltName(dns("b.example.org")), subjectAltName(dns("c.example.org"))];
    expect(oddRead({ extensions }).dnsNames).toEqual(["a.example.org", "b.example.org", "c.example.org"]);
  });

  test("names of any length, 300,000 at most", () => {
    const long = "x".repeat(1_000_000);
    expect(
      oddRead({ subject: sequence(commonName(long)), subjectAltName: [dns(`${long}.org`)] }),
    ).toMatchObject({
      subjectCn: long,
      dnsNames: [`${long}.org`],
    });
    const many = Buffer.alloc(300_000 * 6, dns("a.bc"));
    expect(oddRead({ subjectAltName: [many] }).dnsNames).toHaveLength(300_000);
    const oneMore = generalName(7, Buffer.alloc(4));
    expect(readDer(oddCertificate({ subjectAltName: [many, oneMore] }).der)).toMatchObject({
      state: "unreadable",
      problem: "it has more than 300000 names",
    });
  });
});

test("names have a thousand parts at most, a SET being one", () => {
  const parts = (count: number) => Array.from({ length: count }, () => organization("O"));
  expect(oddRead({ issuer: sequence(...parts(500)) }).issuerO).toHaveLength(999);
  for (const subject of [sequence(...parts(501)), sequence(...Array.from({ length: 1_001 }, () => set()))]) {
    expect(readDer(oddCertificate({ subject }).der)).toMatchObject({
      state: "unreadable",
      problem: "a name in it has more than 1000 parts",
    });
  }
});

describe("what is not read alike by all has no TBS hash, and says why", () => {
  const { der: plain } = oddCertificate();
  const ofExtensions = (...extensions: Buffer[]) => oddCertificate({ extensions }).der;
  /** The TBSCertificate's last field is its extensions, whose list is short. */
  const list = sequence(subjectAltName(dns("a.example.org")));
  const behindExtensions = (...elements: Uint8Array[]) => {
    const { tbsDer } = oddCertificate({ subjectAltName: [] });
    const tbs = sequence(
      tbsDer.subarray(tbsDer[1]! < 0x80 ? 2 : 3),
      contextConstructed(3, list),
      ...elements,
    );
    return sequence(tbs, ecdsaWithSha256, bitString(Buffer.alloc(70)));
  };
  const reTagged = (change: (tag: Buffer) => void) => {
    const bytes = behindExtensions();
    change(bytes.subarray(bytes.indexOf(list) - 2));
    return bytes;
  };
  const ofNames = (value: Uint8Array) =>
    oddCertificate({ subjectAltName: [], extensions: [extensionOf("2.5.29.17", value)] }).der;
  const subjectAltNameId = objectIdentifier("2.5.29.17");
  const inPieces = der(0x24, octetString(Buffer.from([0x30])), octetString(sequence(dns("x")).subarray(1)));
  const indefinite = (bytes: Buffer) => {
    // The outermost element: its tag and two octets of length.
    expect(bytes.subarray(0, 2)).toEqual(Buffer.from([0x30, 0x82]));
    return Buffer.concat([Buffer.from([0x30, 0x80]), bytes.subarray(4), Buffer.alloc(2)]);
  };

  test.each<[string, Uint8Array, string]>([
    ["two poisons", ofExtensions(poisonExtension(), poisonExtension()), "it has two poison extensions"],
    [
      "two SCT lists",
      ofExtensions(sctListExtension([]), sctListExtension([])),
      "it has two SCT list extensions",
    ],
    ["bytes behind it", Buffer.concat([plain, Buffer.from([0])]), "other bytes follow the certificate"],
    [
      "an element behind the extensions",
      behindExtensions(octetString(Buffer.alloc(3))),
      "something follows the fields that",
    ],
    [
      "a tag in the long form",
      Buffer.concat([Buffer.from([0x3f, 0x10]), plain.subarray(1)]),
      "it is BER, not DER, at octet 0",
    ],
    [
      "extensions longer than their tag says",
      reTagged((tag) => (tag[1]! -= 1)),
      "its extensions have another length",
    ],
    [
      "extensions shorter than their tag says",
      reTagged((tag) => (tag[1]! += 1)),
      "its extensions have another length",
    ],
    ["another certificate behind it", Buffer.concat([plain, plain]), "other bytes follow the certificate"],
    ["an indefinite length", indefinite(plain), "it is BER, not DER, at octet 0"],
    [
      "a length in too many octets",
      Buffer.concat([Buffer.from([0x30, 0x83, 0]), plain.subarray(2)]),
      "it is BER, not DER, at octet 0",
    ],
    [
      "an extension's value in pieces",
      oddCertificate({ subjectAltName: [], extensions: [sequence(subjectAltNameId, inPieces)] }).der,
      "it is BER, not DER, at octet ",
    ],
    [
      "names that break off",
      ofNames(Buffer.from("3005820161820a61", "hex")),
      "its subject alternative names break off",
    ],
    ["names that are none", ofNames(Buffer.from("0500", "hex")), "its subject alternative names are no list"],
    [
      "bytes behind the names",
      ofNames(Buffer.from("3003820161ff", "hex")),
      "something follows its subject alternative names",
    ],
    [
      "a name in pieces",
      ofNames(sequence(der(0xa2, der(0x16, Buffer.from("a.")), der(0x16, Buffer.from("b"))))),
      "its subject alternative names are BER, not DER",
    ],
  ])("%s", (_, bytes, problem) => {
    const reading = readDer(bytes);
    if (reading.state !== "unreadable") throw new Error(reading.state);
    expect(reading.problem).toContain(problem);
    expect(tbsSha256(bytes) === null || problem.includes("names")).toBe(true);
    // What it says is there all the same, by the most liberal reading.
    expect(reading.certificate).toMatchObject({
      fingerprintSha1: hash("sha1", bytes),
      fingerprintSha256: hash("sha256", bytes),
      spkiSha256: hash("sha256", oddSpki),
      issuerCn: "Odd CA",
      subjectCn: "a.example.org",
      notBeforeEpochSeconds: 1_800_000_000,
    });
    expect(reading.certificate.allDomains).toContain("a.example.org");
  });

  test("the names of an ambiguous one are all that any reader finds", () => {
    const pieces = der(0xa2, der(0x16, Buffer.from("a.")), der(0x16, Buffer.from("b")));
    for (const [value, names] of [
      [Buffer.from("3005820161820a61", "hex"), ["a"]],
      [sequence(dns("x"), pieces), ["x", "a.b"]],
      [sequence(dns("x"), der(0xa2, Buffer.from("y"))), ["x", "y"]],
      [sequence(der(0x02, Buffer.from("z"))), ["z"]],
    ] as const) {
      const reading = readDer(ofNames(value));
      if (reading.state === "junk") throw new Error(reading.problem);
      expect(reading.certificate.dnsNames).toEqual(names);
    }
  });
});

describe("no certificate:", () => {
  const { der: plain } = oddCertificate();
  const megabytes = (hex: string) => Buffer.alloc(16_000_000, Buffer.from(hex, "hex"));

  test.each<[string, Uint8Array]>([
    ["nothing", Buffer.alloc(0)],
    [
      "PEM",
      Buffer.from(`-----BEGIN CERTIFICATE-----\n${plain.toString("base64")}\n-----END CERTIFICATE-----`),
    ],
    [
      "PEM behind a digit",
      Buffer.from(`0\n-----BEGIN CERTIFICATE-----\n${plain.toString("base64")}\n-----END CERTIFICATE-----`),
    ],
    ["its base64", Buffer.from(plain.toString("base64"))],
    ["a TBSCertificate", oddCertificate().tbsDer],
    ["without its last octet", plain.subarray(0, -1)],
    ["without its first", plain.subarray(1)],
    ["a name that is no name", oddCertificate({ issuer: sequence(set(objectIdentifier("1.2.3"))) }).der],
    ["a serial number of no octets", oddCertificate({ serial: Buffer.alloc(0) }).der],
    ["16 MB of zeros", Buffer.alloc(16_000_000)],
    ["16 MB of SEQUENCEs", megabytes("30")],
    ["16 MB of indefinite lengths", megabytes("3080")],
    [
      "16 MB of indefinite lengths, each ended",
      Buffer.concat([Buffer.alloc(8_000_000, Buffer.from([0x30, 0x80])), Buffer.alloc(8_000_000)]),
    ],
    ["16 MB of long tags", Buffer.concat([Buffer.from([0x3f]), Buffer.alloc(16_000_000, 0x80)])],
    ["16 MB in the name", oddCertificate({ issuer: sequence(megabytes("3180")) }).der],
  ])("%s", (_, bytes) => {
    const reading = readDer(bytes);
    expect(reading).toEqual({
      state: "junk",
      fingerprintSha256: hash("sha256", bytes),
      problem: expect.stringMatching(/^(there is no |an? |the bytes )/),
    });
  });

  test("a time in 16 MB of pieces is none, and is found to be in one pass", () => {
    const notBefore = der(0x37, megabytes("2480"));
    expect(readDer(oddCertificate({ notBefore }).der)).toMatchObject({
      state: "unreadable",
      certificate: { notBeforeEpochSeconds: null },
    });
  });

  test("any part of one that starts where it starts", () => {
    for (let end = 0; end < plain.length; end++) expect(readDer(plain.subarray(0, end)).state).toBe("junk");
  });
});
