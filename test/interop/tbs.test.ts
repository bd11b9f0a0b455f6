import { createHash, createPublicKey, verify, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, inject, test } from "vitest";
import { createAuthority } from "../../src/demo/certificates.ts";
import { bitString, contextConstructed, sequence } from "../../src/demo/der.ts";
import { poisonExtension, sctListExtension, signedPrecertData } from "../../src/demo/sct.ts";
import { ecdsaWithSha256 } from "../../src/demo/x509.ts";
import { preCertTbs, tbsSha256 } from "../../src/issuance/tbs.ts";
import { certificatesOf, readByGo } from "./certificate-transparency-go.ts";

const library = inject("certificateTransparencyGo");
const hex = (bytes: Uint8Array | null) => (bytes === null ? null : Buffer.from(bytes).toString("hex"));
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest();
const hasCtExtension = (der: Buffer) => /060a2b06010401d67902040[23]/.test(der.toString("hex"));

const authority = createAuthority({ organization: "Example Trust", commonName: "E1" });
const issued = [0, 1, 10, 100, 3_000].map((count) =>
  authority.issue({
    dnsNames: Array.from({ length: count }, (_, i) => `h${i}.example.org`),
    commonName: "example.org",
  }),
);

/** Where the library writes anew what it has read, and we leave the bytes: none of it is in a well-made certificate. */
const reencoded: [string, RegExp][] = [
  ["version 1 written out, a DEFAULT", /^30(?:8[1-4])?(?:..){1,4}a003020100/],
  ["critical FALSE written out, a DEFAULT", /01010004/],
  [
    "a UTCTime without seconds or with an offset, a GeneralizedTime before 2050",
    /30..(?:170d.{26})?(?:170[bf]|1711|180f|1813)/,
  ],
];

describe.skipIf(library === null)("certificate-transparency-go", () => {
  const byGo = async (ders: Uint8Array[]) =>
    (await readByGo(library!.readCert, ders)).map(({ tbs, error, tbsError }) =>
      error === undefined && tbsError === undefined ? Buffer.from(tbs!, "hex") : new Error(error ?? tbsError),
    );
  const fileOf = (...path: string[]) => readFile(join(library!.folder, ...path), "utf8");
  let certificates: Awaited<ReturnType<typeof certificatesOf>>;
  beforeAll(async () => {
    certificates = await certificatesOf(library!.folder);
  });

  test("says the same of the certificates in its tests, public ones among them", async () => {
    const answers = await byGo(certificates.map(({ der }) => der));
    let compared = 0;
    for (const [i, { file, der }] of certificates.entries()) {
      const answer = answers[i]!;
      // It also refuses keys, names and extension values that it does not like, which are octets to us.
      if (answer instanceof Error) continue;
      expect(hex(preCertTbs(der)), file).toBe(hex(answer));
      expect(tbsSha256(der), file).toBe(hex(sha256(answer)));
      compared++;
    }
    expect(compared).toBeGreaterThan(290);
    expect(certificates.filter(({ der }) => hasCtExtension(der)).length).toBeGreaterThanOrEqual(8);
  });

  test("has a public pair, whose SCT by its own log verifies against both", async () => {
    const [pre, final, invalid] = await Promise.all(
      ["TestPreCertPEM", "TestEmbeddedCertPEM", "TestInvalidEmbeddedCertPEM"].map(pemConstant),
    );
    expect(tbsSha256(final!)).toBe(tbsSha256(pre!));
    expect(await isLoggedSct(final!, final!)).toBe(true);
    expect(await isLoggedSct(final!, pre!)).toBe(true);
    // "contains an SCT that is not for the corresponding pre-certificate"
    expect(await isLoggedSct(invalid!, invalid!)).toBe(false);
  });

  test("says the same of what the certificate authority of the tests makes", async () => {
    const leaf = issued[1]!;
    const spki = createAuthority({}).publicKey.export({ type: "spki", format: "der" });
    const certify = (...extensions: Buffer[]) => authority.certify(leaf.fields, spki, ...extensions);
    const poison = poisonExtension();
    const scts = sctListExtension([leaf.sct]);
    const others = [certify(), certify(scts, poison), certify(poison, scts), ...onlyExtension(poison, scts)];
    const ders = [...issued.flatMap((pair) => [pair.precertificateDer, pair.certificateDer]), ...others];
    const ours = ders.map((der) => hex(preCertTbs(der)));
    expect(ours).not.toContain(null);
    expect((await byGo(ders)).map(answered)).toEqual(ours);

    const repeated = [certify(poison, poison), certify(scts, scts)];
    expect((await byGo(repeated)).every((answer) => answer instanceof Error)).toBe(true);
    expect(repeated.map(preCertTbs)).toEqual([null, null]);
  });

  test("writes anew what is not in its one encoding, where we keep every byte", async () => {
    const { precertificateDer } = issued[1]!;
    const inPlace = (from: string, to: string) =>
      Buffer.from(hex(precertificateDer)!.replace(from, to), "hex");
    const until2052 = authority.issue({ dnsNames: ["a.example.org"], notAfterEpochSeconds: 2_600_000_000 });
    const until2032 = Buffer.from(
      hex(until2052.precertificateDer)!.replace("180f32303532", "180f32303332"),
      "hex",
    );
    const written = [inPlace("a003020102", "a003020100"), inPlace("0101ff04", "01010004"), until2032];
    for (const [i, answer] of (await byGo(written)).entries()) {
      const ours = hex(preCertTbs(written[i]!))!;
      expect(ours).toMatch(reencoded[i]![1]);
      expect(answered(answer)).toMatch(/^30/);
      expect(answered(answer)!.length, reencoded[i]![0]).toBeLessThan(ours.length);
    }
  });

  /** One of the certificates that `testdata/certs.go` names. */
  async function pemConstant(name: string): Promise<Buffer> {
    const source = (await fileOf("testdata", "certs.go")).replaceAll(/\\n"\s*\+\s*"/g, "\n");
    const pem = new RegExp(`\\b${name} = "(-----BEGIN[^"]+-----END CERTIFICATE-----)`).exec(source)?.[1];
    return new X509Certificate(pem!).raw;
  }

  /** Whether the SCT embedded in `final` is the one of the library's test log over the TBSCertificate of `certificate`. */
  async function isLoggedSct(final: Buffer, certificate: Buffer): Promise<boolean> {
    const keyBase64 = /LogPublicKeyB64 = "([^"]+)"/.exec(await fileOf("testdata", "keys.go"))![1]!;
    const logSpki = Buffer.from(keyBase64, "base64");
    // From the log id on: timestamp, no extensions, two octets of algorithm, signature (RFC 6962 section 3.2).
    const at = final.indexOf(sha256(logSpki)) + 32;
    expect(at).toBeGreaterThan(32);
    const timestampMs = Number(final.readBigUInt64BE(at));
    expect(final.readUInt16BE(at + 8)).toBe(0);
    const signature = final.subarray(at + 14, at + 14 + final.readUInt16BE(at + 12));
    const issuer = new X509Certificate(await pemConstant("CACertPEM"));
    const issuerKeyHash = sha256(issuer.publicKey.export({ type: "spki", format: "der" }));
    const signed = signedPrecertData(
      { issuerKeyHash, tbsDer: Buffer.from(preCertTbs(certificate)!) },
      timestampMs,
    );
    return verify(
      "sha256",
      signed,
      createPublicKey({ key: logSpki, format: "der", type: "spki" }),
      signature,
    );
  }
});

const answered = (answer: Buffer | Error) => (answer instanceof Error ? null : hex(answer));

/** Certificates with one extension each: what becomes of the list when it goes. */
function onlyExtension(...extensions: Buffer[]): Buffer[] {
  const { tbsDer } = issued[1]!.preCert;
  const others = /a38[12]/.exec(hex(tbsDer)!)!.index / 2;
  const fields = tbsDer.subarray(4, others);
  return extensions.map((one) => {
    const tbs = sequence(fields, contextConstructed(3, sequence(one)));
    return sequence(tbs, ecdsaWithSha256, bitString(Buffer.alloc(70)));
  });
}
