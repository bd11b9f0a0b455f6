import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createAuthority } from "../../src/demo/certificates.ts";
import {
  bitString,
  contextConstructed,
  contextPrimitive,
  der,
  objectIdentifier,
  octetString,
  sequence,
  set,
} from "../../src/demo/der.ts";
import { poisonExtension, sctListExtension } from "../../src/demo/sct.ts";
import { ecdsaWithSha256 } from "../../src/demo/x509.ts";
import { preCertTbs, tbsSha256 } from "../../src/issuance/tbs.ts";
import { derEdits, editedDer } from "../support/der-edits.ts";
import { certificateOf, extension, nested, outline, tbsOf } from "../support/hand-made-certificates.ts";

const authority = createAuthority({ organization: "Example Trust", commonName: "E1" });
const { precertificateDer, certificateDer, preCert } = authority.issue({ dnsNames: ["a.example.org"] });
const rest = extension("1.2.3", octetString(Buffer.from("opaque")));
/** The contents of the certificate, and with them a certificate under another header. */
const contents = precertificateDer.subarray(4);
const headed = (...header: number[]) => Buffer.concat([Buffer.from(header), contents]);
const lengthOctets = [contents.length >> 8, contents.length & 0xff] as const;
const small = certificateOf(tbsOf(poisonExtension(), rest));

const withIssuer = (issuer: Uint8Array) =>
  certificateOf(
    sequence(...outline.slice(0, 3), issuer, ...outline.slice(4), contextConstructed(3, sequence(rest))),
  );
const withExtensions = (...fields: Uint8Array[]) => certificateOf(sequence(...outline, ...fields));

describe("no hash, and no exception, for", () => {
  test("the unharmed ones, which have one", () => {
    for (const unharmed of [precertificateDer, certificateDer, small, headed(0x30, 0x82, ...lengthOctets)]) {
      expect(tbsSha256(unharmed)).toMatch(/^[0-9a-f]{64}$/);
    }
  });

  test.each<[string, Uint8Array]>([
    ["nothing", Buffer.alloc(0)],
    ["a tag without a length", Buffer.from([0x30])],
    ["an empty SEQUENCE", sequence()],
    ["PEM", Buffer.from(`-----BEGIN CERTIFICATE-----\n${certificateDer.toString("base64")}`)],
    ["a trailing octet", Buffer.concat([precertificateDer, Buffer.from([0])])],
    ["two certificates", Buffer.concat([precertificateDer, certificateDer])],
    ["a SET for a certificate", headed(0x31, 0x82, ...lengthOctets)],
    ["only the TBSCertificate", preCert.tbsDer],
    ["a length one too short", headed(0x30, 0x82, lengthOctets[0], lengthOctets[1] - 1)],
    ["a length one too long", headed(0x30, 0x82, lengthOctets[0], lengthOctets[1] + 1)],
    ["an indefinite length", Buffer.concat([headed(0x30, 0x80), Buffer.from([0, 0])])],
    ["an indefinite length inside", withIssuer(Buffer.from([0x30, 0x80, 0, 0]))],
    ["a length with a zero in front", headed(0x30, 0x83, 0, ...lengthOctets)],
    ["a long length for a short one", withIssuer(Buffer.from([0x30, 0x81, 2, 0x31, 0]))],
    ["a long length for none", withIssuer(Buffer.from([0x30, 0x81, 0]))],
    ["a length of 2 GB", headed(0x30, 0x84, 0x7f, 0xff, 0xff, 0xff)],
    ["a length of 4 GB", headed(0x30, 0x84, 0xff, 0xff, 0xff, 0xff)],
    ["a length beyond 2^53", headed(0x30, 0x88, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)],
    ["a length that wraps at 2^32", headed(0x30, 0x85, 1, 0, 0, ...lengthOctets)],
    ["a length of 126 octets", headed(0x30, 0xfe, ...lengthOctets)],
    ["a length of the reserved 127 octets", headed(0x30, 0xff, ...lengthOctets)],
    ["a length of 2 GB inside", withIssuer(Buffer.from([0x30, 0x84, 0x7f, 0xff, 0xff, 0xff]))],
    ["an inner element that ends behind its parent", withIssuer(sequence(Buffer.from([0x31, 0x05, 0])))],
    ["a tag of several octets", withIssuer(sequence(Buffer.from([0xbf, 2, 0x31, 0])))],
    ["SEQUENCEs nested a hundred thousand deep", nested(100_000)],
    ["SEQUENCEs nested a thousand deep in the issuer", withIssuer(nested(1_000))],
    ["no signature", sequence(tbsOf(rest), ecdsaWithSha256)],
    ["an element behind the extensions", withExtensions(contextConstructed(3, sequence(rest)), sequence())],
    [
      "extensions before a unique identifier",
      withExtensions(contextConstructed(3, sequence(rest)), contextPrimitive(2, rest)),
    ],
    [
      "extensions twice",
      withExtensions(contextConstructed(3, sequence(rest)), contextConstructed(3, sequence(rest))),
    ],
    ["extensions without a list", withExtensions(contextConstructed(3))],
    [
      "extensions with two lists",
      withExtensions(contextConstructed(3, sequence(rest), sequence(poisonExtension()))),
    ],
    ["extensions as octets", withExtensions(contextPrimitive(3, sequence(rest)))],
    ["an extension that is no SEQUENCE", certificateOf(tbsOf(rest, octetString(rest)))],
    ["an extension without a value", certificateOf(tbsOf(sequence(objectIdentifier("1.2.3"))))],
    [
      "an identifier that breaks off",
      certificateOf(tbsOf(sequence(der(0x06, Buffer.from([0x2a, 0x83])), octetString(rest)))),
    ],
    ["two poisons", certificateOf(tbsOf(poisonExtension(), rest, poisonExtension()))],
    ["two SCT lists", certificateOf(tbsOf(sctListExtension([]), sctListExtension([Buffer.alloc(9)])))],
    ["16 MB of zeros", Buffer.alloc(16_000_000)],
    ["16 MB of indefinite lengths", Buffer.alloc(16_000_000, Buffer.from([0x30, 0x80]))],
    ["16 MB of empty elements", sequence(Buffer.alloc(16_000_000, Buffer.from([5, 0])))],
    [
      "16 MB of SEQUENCEs at the deepest that is read",
      Array.from({ length: 14 }).reduce<Buffer>(
        (inner) => sequence(inner),
        sequence(Buffer.alloc(16_000_000, Buffer.from([0x30, 0]))),
      ),
    ],
  ])("%s", (_, hostile) => {
    expect(tbsSha256(hostile)).toBeNull();
  });

  test("any part of a certificate that starts where it starts", () => {
    for (let end = 0; end < certificateDer.length; end++) {
      expect(tbsSha256(certificateDer.subarray(0, end)), `${end} octets`).toBeNull();
    }
  });
});

describe("a hash all the same, since certificate-transparency-go reads it, where there is", () => {
  const hashOf = (tbs: Uint8Array) => createHash("sha256").update(tbs).digest("hex");
  const emptyId = sequence(der(0x06), octetString(rest));
  const twoValues = extension("1.2.3", Buffer.concat([octetString(rest), octetString(rest)]));
  const paddedPoison = sequence(
    der(0x06, Buffer.from("2b06010401d679020480", "hex"), Buffer.from([3])),
    octetString(Buffer.from([5, 0])),
  );
  const attribute = (value: Uint8Array) => sequence(set(sequence(objectIdentifier("1.2.3.4"), value)));

  test.each<[string, Uint8Array, Uint8Array]>([
    [
      "a fourth element",
      sequence(tbsOf(rest), ecdsaWithSha256, bitString(Buffer.alloc(70)), sequence()),
      tbsOf(rest),
    ],
    ["an empty identifier", certificateOf(tbsOf(emptyId, poisonExtension())), tbsOf(emptyId)],
    ["something behind a value", certificateOf(tbsOf(twoValues, poisonExtension())), tbsOf(twoValues)],
    ["a poison whose identifier is padded", certificateOf(tbsOf(paddedPoison, rest)), tbsOf(rest)],
  ])("%s", (_, certificate, tbs) => {
    expect(tbsSha256(certificate)).toBe(hashOf(tbs));
  });

  test.each<[string, Uint8Array]>([
    ["a value nested 20 deep in the issuer", attribute(nested(20))],
    ["a value nested a hundred thousand deep", attribute(nested(100_000))],
    ["a tag of several octets", attribute(Buffer.from([0xbf, 0x81, 0x00, 1, 0]))],
    ["a value that is no ASN.1 inside", attribute(sequence(Buffer.from([0x31, 0x80, 0xff])))],
  ])("%s", (_, issuer) => {
    expect(tbsSha256(withIssuer(issuer))).toMatch(/^[0-9a-f]{64}$/);
  });
});

test("a thousand extensions have a hash; of a million nobody reads more", () => {
  const extensions = (count: number) =>
    Buffer.alloc(7 * count, extension("1.2", octetString(Buffer.alloc(0))));
  expect(tbsSha256(certificateOf(tbsOf(extensions(999), poisonExtension())))).toBe(
    tbsSha256(certificateOf(tbsOf(extensions(999)))),
  );
  expect(tbsSha256(certificateOf(tbsOf(extensions(1_000), poisonExtension())))).toBeNull();
  expect(tbsSha256(certificateOf(tbsOf(extensions(1_000_000))))).toBeNull();
});

test("a hundred thousand mutations give a hash or null, and leave the original's as it was", () => {
  const originals = [precertificateDer, certificateDer, small, authority.certificate.der];
  const before = originals.map(tbsSha256);
  let hashed = 0;
  fc.assert(
    fc.property(fc.constantFrom(...originals), derEdits, (original, edits) => {
      const mutated = editedDer(original, edits);
      const tbs = preCertTbs(mutated);
      if (tbs === null) return;
      hashed++;
      // A result is itself the TBSCertificate of a certificate, and has nothing left to remove.
      expect(tbs.length).toBeLessThanOrEqual(mutated.length);
      expect(preCertTbs(certificateOf(tbs))?.length).toBe(tbs.length);
    }),
    { numRuns: 100_000 },
  );
  // Both outcomes were there.
  expect(hashed).toBeGreaterThan(5_000);
  expect(hashed).toBeLessThan(95_000);
  expect(originals.map(tbsSha256)).toEqual(before);
});

test("random octets", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (octets) => tbsSha256(octets) === null),
    { numRuns: 20_000 },
  );
});
