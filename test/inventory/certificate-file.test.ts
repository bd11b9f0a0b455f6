import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createAuthority } from "../../src/demo/certificates.ts";
import { readCertificateFile } from "../../src/inventory/certificate-file.ts";
import { oddCases, oddCertificate } from "../support/odd-certificates.ts";
import { pem } from "../support/pem.ts";
import { describeIfAvailable, missing } from "../support/skip.ts";

const root = createAuthority({ organization: "Example Trust", commonName: "Example Root" });
const authority = createAuthority({
  organization: "Example Trust",
  commonName: "issuing.example",
  parent: root,
});
const issue = (...dnsNames: string[]) => authority.issue({ dnsNames });
const key = `-----BEGIN PRIVATE KEY-----\n${Buffer.from("secret").toString("base64")}\n-----END PRIVATE KEY-----\n`;

describe("readCertificateFile", () => {
  test("reads what a row of the inventory needs", () => {
    const { certificateDer, fields, preCert } = issue("example.org", "*.example.org");
    const { certificates, skipped, problems } = readCertificateFile(certificateDer);
    expect({ skipped, problems }).toEqual({ skipped: [], problems: [] });
    expect(certificates).toEqual([
      {
        fingerprint_sha1: createHash("sha1").update(certificateDer).digest("hex"),
        serial: fields.serialHex,
        sans: ["example.org", "*.example.org"],
        not_before: fields.notBeforeEpochSeconds,
        not_after: fields.notAfterEpochSeconds,
        tbs_sha256: createHash("sha256").update(preCert.tbsDer).digest("hex"),
      },
    ]);
  });

  test.each([
    ["from year 1", "0001-01-01T00:00:00Z"],
    ["from year 99 to 9999", "0099-01-01T00:00:00Z"],
  ])("takes a year below 100 as it is: %s", (name, time) => {
    const { certificates } = readCertificateFile(oddCertificate(oddCases[name]).der);
    expect(certificates).toMatchObject([{ not_before: Date.parse(time) / 1000 }]);
  });

  test("gives the same for PEM as for DER, whatever stands around it", () => {
    const { certificateDer } = issue("example.org");
    const text = `\ufeffsubject=CN = example.org\r\n${key}${pem(certificateDer).replaceAll("\n", "\r\n")}${key}`;
    expect(readCertificateFile(Buffer.from(text))).toEqual(readCertificateFile(certificateDer));
  });

  test("takes all leaves of a bundle and skips its CA certificates", () => {
    const leaves = [issue("one.example.org"), issue("two.example.org")];
    const ders = [
      ...leaves.map(({ certificateDer }) => certificateDer),
      ...authority.chain.map(({ der }) => der),
    ];
    const { certificates, skipped, problems } = readCertificateFile(
      Buffer.from(ders.map((der) => pem(der)).join("")),
    );
    expect(certificates.map(({ sans }) => sans)).toEqual([["one.example.org"], ["two.example.org"]]);
    expect(skipped).toEqual([
      "PEM certificate 3: a CA certificate (O=Example Trust, CN=issuing.example)",
      "PEM certificate 4: a CA certificate (O=Example Trust, CN=Example Root)",
    ]);
    expect(problems).toEqual([]);
  });

  test.each([
    [["a.org, DNS:evil.org", "b.org"]],
    [['quo"te.org', "back\\slash.org", "tab\t.org", "nul\0.org"]],
    [["bücher.example", "日本.example"]],
    [["", "x"]],
  ])("reads the names %j as they are", (names) => {
    expect(readCertificateFile(issue(...names).certificateDer).certificates[0]!.sans).toEqual(names);
  });

  test("keeps apart a certificate that is cut off, and those around it", () => {
    const [one, two] = [pem(issue("one.org").certificateDer), pem(issue("two.org").certificateDer)];
    for (const text of [one.slice(0, 300) + two, two + one.slice(0, 300), two + one.slice(0, -5)]) {
      const { certificates, problems } = readCertificateFile(Buffer.from(text));
      expect(certificates.map(({ sans }) => sans)).toEqual([["two.org"]]);
      expect(problems).toEqual(["a PEM certificate is cut off"]);
    }
  });

  test("finds nothing in a key, in other text, and in nothing", () => {
    const nothing = { certificates: [], skipped: [], problems: [] };
    for (const text of [key, "hello", ""]) expect(readCertificateFile(Buffer.from(text))).toEqual(nothing);
  });

  test("says what is no certificate", () => {
    const { certificateDer } = issue("example.org");
    const broken = Buffer.from(certificateDer.subarray(0, -1));
    expect(readCertificateFile(broken).problems).toEqual(["DER: not an X.509 certificate"]);
    expect(readCertificateFile(Buffer.from(pem(broken))).problems).toEqual([
      "PEM certificate 1: not an X.509 certificate",
    ]);
  });

  test("never throws, whatever byte is changed", () => {
    const der = issue("example.org", "*.example.org").certificateDer;
    fc.assert(
      fc.property(fc.nat(der.length - 1), fc.integer({ min: 1, max: 255 }), (at, bits) => {
        const changed = Buffer.from(der);
        changed[at]! ^= bits;
        const { certificates, skipped, problems } = readCertificateFile(changed);
        expect(certificates.length + skipped.length + problems.length).toBeLessThanOrEqual(1);
      }),
      { numRuns: 500 },
    );
  });

  test("takes time linear in the length of hostile text", () => {
    const begins = Buffer.from("-----BEGIN A-----\n".repeat(150_000));
    expect(readCertificateFile(begins).problems).toEqual([]);
  });
});

describeIfAvailable("certificates of openssl req -x509", missing("openssl", "version"), () => {
  const make = (...args: string[]) => {
    const dir = mkdtempSync(join(tmpdir(), "certwatch-openssl-"));
    try {
      const [keyFile, file] = [join(dir, "key.pem"), join(dir, "cert.pem")];
      const fixed = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "9",
      ];
      execFileSync("openssl", [...fixed, "-keyout", keyFile, "-out", file, ...args], { stdio: "pipe" });
      return readCertificateFile(Buffer.concat([readFileSync(keyFile), readFileSync(file)]));
    } finally {
      rmSync(dir, { recursive: true });
    }
  };

  test("are taken although they say CA:TRUE, when they name a host", () => {
    const names = "subjectAltName=DNS:example.org,IP:192.0.2.1,email:a@example.org,DNS:www.example.org";
    const { certificates, skipped } = make("-subj", "/CN=example.org", "-addext", names);
    expect(skipped).toEqual([]);
    expect(certificates[0]!.sans).toEqual(["example.org", "www.example.org"]);
    expect(make("-subj", "/O=X/CN=example.org").certificates).toHaveLength(1);
    expect(make("-subj", "/O=X/CN=My Root").skipped).toEqual([
      "PEM certificate 1: a CA certificate (O=X, CN=My Root)",
    ]);
  });
});
