import { X509Certificate } from "node:crypto";
import { beforeAll, describe, expect, inject, test } from "vitest";
import { createAuthority } from "../../src/demo/certificates.ts";
import { contextConstructed, sequence } from "../../src/demo/der.ts";
import { poisonExtension } from "../../src/demo/sct.ts";
import { utf8Text } from "../../src/issuance/asn1-values.ts";
import { type DerReading, type ReadCertificate, readDer } from "../../src/issuance/certificate.ts";
import { DerReader } from "../../src/issuance/der.ts";
import { Fields } from "../../src/issuance/der-fields.ts";
import { normalizeSerial } from "../../src/issuance/serial.ts";
import { preCertTbs } from "../../src/issuance/tbs.ts";
import { readX509 } from "../../src/issuance/x509.ts";
import { createMutator } from "../support/der-mutations.ts";
import { oddCases, oddCertificate } from "../support/odd-certificates.ts";
import { certificatesOf, type GoReading, readByGo } from "./certificate-transparency-go.ts";

const library = inject("certificateTransparencyGo");
// To repeat a run that failed, or to run for longer.
const seed = Number(process.env.CERTWATCH_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
const runs = Number(process.env.CERTWATCH_TEST_RUNS ?? 20_000);
const batchSize = 5_000;

/**
 * Why a certificate that Go or OpenSSL reads has no TBS hash, besides that it is larger than any certificate is. Each of these is read by the one only, or says different
 * things to the two, and is never written by a certificate authority.
 */
const ambiguities: readonly RegExp[] = [
  // OpenSSL reads BER. Go steps over strings in pieces, which OpenSSL joins.
  /^it is BER, not DER, at octet \d+$/,
  /^its subject alternative names are BER, not DER$/,
  // OpenSSL reads the first element and leaves the rest; Go refuses.
  /^other bytes follow the certificate$/,
  // Go leaves what follows the fields, also extensions behind something else; OpenSSL refuses.
  /^something follows the fields that a TBSCertificate has$/,
  /^its extensions are no list$/,
  // Go passes over an explicit tag's length; OpenSSL refuses.
  /^its (?:version has another length than its|extensions have another length than their) tag says$/,
  // OpenSSL reads the certificate and none of these names; Go refuses.
  /^its subject alternative names (?:are no list|break off)$/,
  /^something follows its subject alternative names$/,
  // Both read it, and Go's removeExtension refuses.
  /^it has two (?:poison|SCT list) extensions$/,
];

describe.skipIf(library === null)(
  "whatever certificate-transparency-go or OpenSSL reads as a certificate",
  () => {
    let originals: Buffer[];
    beforeAll(async () => {
      const issuer = createAuthority({ organization: "Example Trust", commonName: "E1" });
      const own = [1, 3, 20].flatMap((count) => {
        const dnsNames = Array.from({ length: count }, (_, i) => `h${i}.example.org`);
        const issued = issuer.issue({ dnsNames, commonName: "cn.example.org", organization: "Org" });
        return [issued.precertificateDer, issued.certificateDer];
      });
      const odd = Object.values(oddCases).flatMap((fields) => {
        const { der, precertificateDer } = oddCertificate(fields);
        return [der, precertificateDer];
      });
      const others = await Promise.all([library!.folder, library!.standardFolder].map(certificatesOf));
      originals = [...own, ...own, ...own, ...odd, ...others.flat().map(({ der }) => der)];
      expect(originals.length).toBeGreaterThan(500);
    });

    const timeoutMs = 60_000 + runs * 30;
    test(`is one to certwatch, and says the same, in ${runs} mutants`, { timeout: timeoutMs }, async () => {
      const mutant = createMutator(originals, seed);
      const found = { byBoth: 0, byGo: 0, byOpenssl: 0, byNeither: 0, ambiguous: 0, withTbs: 0 };
      for (let done = 0; done < runs; done += batchSize) {
        const ders = Array.from({ length: Math.min(batchSize, runs - done) }, mutant);
        const readings = await readByGo(library!.readCert, ders);
        const rewritten: { der: Buffer; byGo: string }[] = [];
        for (const [i, der] of ders.entries()) {
          const byGo = readings[i]!;
          const byOpenssl = readByOpenssl(der);
          const where = `seed ${seed}, mutant ${done + i}: ${der.toString("hex")}`;
          const ours = readDer(der);
          const isReadByGo = byGo.error === undefined;
          found[isReadByGo ? (byOpenssl ? "byBoth" : "byGo") : byOpenssl ? "byOpenssl" : "byNeither"]++;
          if (!isReadByGo && byOpenssl === null) continue;
          if (ours.state === "junk") throw new Error(`${ours.problem}: ${where}`);
          if (ours.state === "unreadable") {
            found.ambiguous++;
            if (!ambiguities.some((pattern) => pattern.test(ours.problem))) {
              throw new Error(`${ours.problem}: ${where}`);
            }
          }
          if (byOpenssl !== null) expectAsByOpenssl(ours.certificate, byOpenssl, where);
          if (!isReadByGo || ours.state !== "read") continue;
          expectAsByGo(der, ours, byGo, where);
          if (byGo.tbs === "" || byGo.tbs === undefined) continue;
          found.withTbs++;
          if (Buffer.from(preCertTbs(der)!).toString("hex") !== byGo.tbs)
            rewritten.push({ der, byGo: byGo.tbs });
        }
        await expectRewritten(rewritten);
      }
      expect(found.byBoth + found.byGo + found.byOpenssl + found.byNeither).toBe(runs);
      for (const [what, count] of Object.entries(found)) expect(count, what).toBeGreaterThan(runs / 200);
      console.log(JSON.stringify(found));
    });

    /**
     * Where Go removes an extension, it writes all of the TBSCertificate anew: defaults, padded identifiers, times, without
     * what follows the fields of an extension. We keep every byte. Our bytes, written anew by Go, have to be Go's.
     */
    async function expectRewritten(cases: { der: Buffer; byGo: string }[]): Promise<void> {
      const again = await readByGo(
        library!.readCert,
        cases.map(({ der }) => withPoison(der)),
      );
      for (const [i, { der, byGo }] of cases.entries()) {
        expect(again[i]!.tbs, `seed ${seed}: ${der.toString("hex")}`).toBe(byGo);
      }
    }
  },
);

/** The certificate with its TBSCertificate as we have it, and a poison as its last extension. */
function withPoison(der: Buffer): Buffer {
  const original = new DerReader(der);
  const certificate = original.elementAt(0, der.length)!;
  const fields = new Fields(original, certificate);
  fields.required("TBSCertificate");
  const algorithmAndSignature = der.subarray(fields.at, certificate.end);

  const { reader, tbs, extensions, extensionsStart } = readX509(
    sequence(preCertTbs(der)!, algorithmAndSignature),
  );
  // Go writes anew only where it has an extension to remove; its list stays.
  const [list, listStart] = [extensions.list!, extensionsStart!];
  const before = reader.bytes.subarray(tbs.contents, listStart);
  const kept = reader.bytes.subarray(list.contents, list.end);
  const tbsDer = sequence(before, contextConstructed(3, sequence(kept, poisonExtension())));
  return sequence(tbsDer, algorithmAndSignature);
}

function expectAsByGo(
  der: Buffer,
  { certificate }: DerReading & { state: "read" },
  byGo: GoReading,
  where: string,
): void {
  expect(certificate.spkiSha256, where).toBe(byGo.spkiSha256);
  expect(certificate.isPrecertificate, where).toBe(byGo.hasPoison);
  expect(certificate.notBeforeEpochSeconds, where).toBe(usableTime(byGo.notBefore));
  expect(certificate.notAfterEpochSeconds, where).toBe(usableTime(byGo.notAfter));
  expect(normalizeSerial(certificate.serial), where).toBe(normalizeSerial(usableSerial(byGo.serial)));
  // With a warning it has guessed at the encoding of a text, and no server sends what it guessed.
  if (byGo.warning !== undefined) return;
  expect(certificate.issuerCn ?? "", where).toBe(byGo.issuerCn);
  expect(certificate.issuerO ?? "", where).toBe(byGo.issuerO);
  expect(certificate.subjectCn ?? "", where).toBe(byGo.subjectCn);
  const [ours, theirs] = [new Set(certificate.allDomains), new Set(byGo.allDomains)];
  // Of two extensions of subject alternative names Go has the names of the last.
  const hasTwoLists = der.toString("hex").split("551d11").length > 2;
  if (hasTwoLists)
    expect(
      byGo.allDomains.every((name) => ours.has(name)),
      where,
    ).toBe(true);
  else expect(ours, where).toEqual(theirs);
}

const usableTime = (epochSeconds: number): number | null =>
  epochSeconds >= Date.parse("0001-01-01T00:00:00Z") / 1000 &&
  epochSeconds <= Date.parse("9999-12-31T23:59:59Z") / 1000
    ? epochSeconds
    : null;
const usableSerial = (serial: string): string | null => (serial.length > 1_000 ? null : serial);

function expectAsByOpenssl(certificate: ReadCertificate, byOpenssl: X509Certificate, where: string): void {
  const { serialNumber, subjectAltName } = byOpenssl;
  expect(normalizeSerial(certificate.serial), where).toBe(normalizeSerial(usableSerial(serialNumber)));
  const ours = new Set(certificate.dnsNames);
  for (const name of dnsNamesIn(subjectAltName ?? "")) expect(ours.has(name), `${name}: ${where}`).toBe(true);
  for (const [text, epochSeconds] of [
    [byOpenssl.validFrom, certificate.notBeforeEpochSeconds],
    [byOpenssl.validTo, certificate.notAfterEpochSeconds],
  ] as const) {
    // JavaScript takes years below 100 for others.
    if (/ \d{4} GMT$/.test(text))
      expect(epochSeconds, `${text}: ${where}`).toBe(Math.floor(Date.parse(text) / 1000));
  }
}

function readByOpenssl(der: Buffer): X509Certificate | null {
  // Node.js looks for PEM first.
  if (der.includes("-----BEGIN")) return null;
  try {
    return new X509Certificate(der);
  } catch {
    return null;
  }
}

/** Takes Node.js' text apart: `DNS:a.org, IP Address:192.0.2.1, DNS:"x\u002cy"`. */
const dnsNamesIn = (subjectAltName: string): string[] =>
  [...subjectAltName.matchAll(/(?<=^|, )DNS:("(?:[^"\\]|\\.)*"|[^,]*)(?=, |$)/g)].map(([, name]) =>
    name!.startsWith('"') ? utf8Text(Buffer.from(JSON.parse(name!) as string, "latin1")) : name!,
  );
