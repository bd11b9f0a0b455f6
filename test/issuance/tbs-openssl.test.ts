import { execFileSync } from "node:child_process";
import { createHash, randomBytes, verify, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { octetString } from "../../src/demo/der.ts";
import { createCtLogKey, signedCertificateTimestamp, signedPrecertData, vector } from "../../src/demo/sct.ts";
import { preCertTbs, tbsSha256 } from "../../src/issuance/tbs.ts";
import { describeIfAvailable, missing } from "../support/skip.ts";

const config = `
[ca]
default_ca = authority
[authority]
database = index.txt
serial = serial.txt
new_certs_dir = .
certificate = ca.pem
private_key = ca.key
default_md = sha256
policy = anything
unique_subject = no
[anything]
organizationName = optional
commonName = optional
`;
const poison = "1.3.6.1.4.1.11129.2.4.3 = critical, DER:05:00";
const constraints = "basicConstraints = critical, CA:FALSE";
const keyIds = "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid";
const names = "subjectAltName = DNS:example.org, DNS:*.example.org";

/** The CA program of another project writes both certificates, and takes the TBSCertificate out of a third. */
describeIfAvailable("pairs that OpenSSL makes", missing("openssl", "version"), () => {
  let folder: string;
  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
  const write = (name: string, text: string) => writeFileSync(join(folder, name), text);

  /** Issues with these extensions, always with the same serial number, dates, names and keys. */
  function issue(...extensions: string[]): Buffer {
    write("index.txt", "");
    write("serial.txt", "0A7B\n");
    write("ca.cnf", `${config}\n[leaf]\n${extensions.join("\n")}\n`);
    const dates = ["-startdate", "20260101000000Z", "-enddate", "20260401000000Z"];
    const files = ["-in", "leaf.csr", "-out", "leaf.pem", "-notext"];
    openssl("ca", "-batch", "-config", "ca.cnf", "-extensions", "leaf", ...dates, ...files);
    return new X509Certificate(readFileSync(join(folder, "leaf.pem"))).raw;
  }

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "certwatch-openssl-"));
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    openssl("req", "-x509", ...key, "-subj", "/O=OpenSSL CA", "-keyout", "ca.key", "-out", "ca.pem");
    openssl("req", ...key, "-subj", "/O=Leaf/CN=example.org", "-keyout", "leaf.key", "-out", "leaf.csr");
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** The TBSCertificate of one certificate, by OpenSSL. */
  function tbsByOpenssl(certificate: Buffer): Buffer {
    writeFileSync(join(folder, "any.der"), certificate);
    openssl("asn1parse", "-inform", "DER", "-in", "any.der", "-strparse", "4", "-noout", "-out", "tbs.der");
    return readFileSync(join(folder, "tbs.der"));
  }

  test.each([
    ["first", (ct: string) => [ct, constraints, keyIds, names]],
    ["in the middle", (ct: string) => [constraints, ct, keyIds, names]],
    ["last", (ct: string) => [constraints, keyIds, names, ct]],
  ])("hash equal, the CT extension %s, and an SCT over the precertificate verifies", (_, extensions) => {
    const expected = tbsByOpenssl(issue(...extensions("")));
    const precertificate = issue(...extensions(poison));

    const ca = new X509Certificate(readFileSync(join(folder, "ca.pem")));
    const spki = ca.publicKey.export({ type: "spki", format: "der" });
    const issuerKeyHash = createHash("sha256").update(spki).digest();
    const logs = [createCtLogKey(), createCtLogKey()];
    const entry = (certificate: Buffer) => ({
      issuerKeyHash,
      tbsDer: Buffer.from(preCertTbs(certificate)!),
    });
    const timestampMs = 1_767_225_600_123;
    const scts = logs.map((log) => signedCertificateTimestamp(log, entry(precertificate), timestampMs));
    const list = vector(2, ...scts.map((sct) => vector(2, sct)));
    const final = issue(...extensions(`1.3.6.1.4.1.11129.2.4.2 = DER:${octetString(list).toString("hex")}`));

    expect(precertificate.equals(final)).toBe(false);
    expect(tbsSha256(precertificate)).toBe(createHash("sha256").update(expected).digest("hex"));
    expect(tbsSha256(final)).toBe(tbsSha256(precertificate));
    for (const [i, { publicKey }] of logs.entries()) {
      expect(final.includes(scts[i]!)).toBe(true);
      const signature = scts[i]!.subarray(1 + 32 + 8 + 2 + 2 + 2);
      const signed = signedPrecertData(entry(final), timestampMs);
      expect(verify("sha256", signed, publicKey, signature)).toBe(true);
    }
  });

  test("hash equal with an SCT list of any size", () => {
    const expected = createHash("sha256")
      .update(tbsByOpenssl(issue(constraints, names)))
      .digest("hex");
    for (const size of [1, 100, 200, 1_000, 20_000]) {
      const value = octetString(randomBytes(size)).toString("hex");
      expect(tbsSha256(issue(constraints, `1.3.6.1.4.1.11129.2.4.2 = DER:${value}`, names))).toBe(expected);
    }
  });
});
