import { generateKeyPairSync, randomBytes } from "node:crypto";
import {
  bitString,
  boolean,
  contextConstructed,
  der,
  objectIdentifier,
  octetString,
  sequence,
  set,
  time,
  unsignedInteger,
  utf8String,
} from "../../src/demo/der.ts";
import { poisonExtension } from "../../src/demo/sct.ts";
import { ecdsaWithSha256 } from "../../src/demo/x509.ts";

/** Certificates that CAs seldom or never make, which every reader of X.509 nevertheless takes for certificates. */

/** Elements in DER, but for the serial number, whose contents are given. What is left out is ordinary. */
export interface OddFields {
  serial?: Uint8Array;
  issuer?: Uint8Array;
  notBefore?: Uint8Array;
  notAfter?: Uint8Array;
  subject?: Uint8Array;
  /** GeneralNames; no extension where there are none. */
  subjectAltName?: Uint8Array[];
  /** Besides those. */
  extensions?: Uint8Array[];
}

export interface OddCertificate {
  der: Buffer;
  precertificateDer: Buffer;
  /** The TBSCertificate of both, without the poison; of a precertificate with no other extension, without their list. */
  tbsDer: Buffer;
}

const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
/** The key of all of them. */
export const oddSpki = publicKey.export({ type: "spki", format: "der" });

/** One attribute of a name, alone in its SET; `id` below 2.5.4. */
export const attribute = (id: number, value: Uint8Array): Buffer =>
  set(sequence(objectIdentifier(`2.5.4.${id}`), value));
export const [commonName, organization] = [3, 10].map(
  (id) => (value: string | Uint8Array) =>
    attribute(id, typeof value === "string" ? utf8String(value) : value),
) as [(value: string | Uint8Array) => Buffer, (value: string | Uint8Array) => Buffer];

/** A GeneralName; 1 is an e-mail address, 2 a DNS name, 6 a URI, 7 an IP address. */
export const generalName = (number: number, value: string | Uint8Array): Buffer =>
  der(0x80 | number, Buffer.from(value as string, "utf8"));
export const dns = (name: string | Uint8Array): Buffer => generalName(2, name);

export const extensionOf = (id: string, value: Uint8Array, isCritical = false): Buffer =>
  sequence(objectIdentifier(id), ...(isCritical ? [boolean(true)] : []), octetString(value));
export const subjectAltName = (...names: Uint8Array[]): Buffer =>
  extensionOf("2.5.29.17", sequence(...names));
export const basicConstraints = (isCa: boolean): Buffer =>
  extensionOf("2.5.29.19", sequence(...(isCa ? [boolean(true)] : [])), true);

export const utcTime = (text: string): Buffer => der(0x17, Buffer.from(text));
export const generalizedTime = (text: string): Buffer => der(0x18, Buffer.from(text));

/** Nobody checks the signature. */
export function oddCertificate(fields: OddFields = {}): OddCertificate {
  const serial = fields.serial ?? Buffer.concat([Buffer.from([1]), randomBytes(15)]);
  const names = fields.subjectAltName ?? [dns("a.example.org")];
  const extensions = [...(names.length > 0 ? [subjectAltName(...names)] : []), ...(fields.extensions ?? [])];
  const tbsOf = (...last: Uint8Array[]): Buffer => {
    const list = [...extensions, ...last];
    return sequence(
      contextConstructed(0, unsignedInteger(Buffer.from([2]))),
      der(0x02, serial),
      ecdsaWithSha256,
      fields.issuer ?? sequence(organization("Odd Trust"), commonName("Odd CA")),
      sequence(fields.notBefore ?? time(1_800_000_000), fields.notAfter ?? time(1_807_776_000)),
      fields.subject ?? sequence(commonName("a.example.org")),
      oddSpki,
      ...(list.length > 0 ? [contextConstructed(3, sequence(...list))] : []),
    );
  };
  const signed = (tbs: Buffer) => sequence(tbs, ecdsaWithSha256, bitString(Buffer.alloc(70, 1)));
  const poisoned = tbsOf(poisonExtension());
  const tbsDer = tbsOf();
  return { der: signed(tbsDer), precertificateDer: signed(poisoned), tbsDer };
}

const value = (tag: number) => (contents: string | Uint8Array) =>
  der(tag, Buffer.from(contents as string, "latin1"));
export const printable = value(0x13);
const [t61, ia5, numeric, visible, bmp, universal] = [0x14, 0x16, 0x12, 0x1a, 0x1e, 0x1c].map(value);
const utf16 = (text: string) => bmp!(Buffer.from(text, "utf16le").swap16());
const named = (...attributes: Uint8Array[]) => ({
  issuer: sequence(...attributes),
  subject: sequence(...attributes),
});
const nestedIn = (depth: number, inner: Buffer): Buffer =>
  depth === 0 ? inner : nestedIn(depth - 1, sequence(inner));
const octets = (hex: string) => Buffer.from(hex, "hex");

/** Certificates that certstream-server-go reads without a warning, and therefore sends. */
export const oddCases: Record<string, OddFields> = {
  ordinary: {},
  "several CNs": named(commonName("first.example.org"), commonName("last.example.org")),
  "several CNs, the last of them empty": named(commonName("first.example.org"), commonName("")),
  "several Os": named(organization("One"), organization(""), organization("Two"), commonName("x")),
  "CN and O in one SET": named(
    set(
      sequence(objectIdentifier("2.5.4.3"), utf8String("one.example.org")),
      sequence(objectIdentifier("2.5.4.10"), utf8String("One")),
    ),
  ),
  "no names at all": { ...named(), subjectAltName: [] },
  "a CN that is no SAN": { subject: sequence(commonName("cn.example.org")) },
  "a CN that is a SAN in other letters": { subject: sequence(commonName("A.example.ORG")) },
  "the CN of a CA": { subject: sequence(commonName("cn.example.org")), extensions: [basicConstraints(true)] },
  "basic constraints of none": {
    subject: sequence(commonName("cn.example.org")),
    extensions: [basicConstraints(false)],
  },
  "upper-case names": { subjectAltName: [dns("WWW.Example.ORG"), dns("*.EXAMPLE.org")] },
  "the same name twice": { subjectAltName: [dns("b.example.org"), dns("b.example.org")] },
  "an IDN as A-label": { subjectAltName: [dns("xn--bcher-kva.example.org")] },
  "an IDN as U-label": { subjectAltName: [dns("bücher.example.org")] },
  "a SAN that is no UTF-8": {
    subjectAltName: [dns(octets("e28241ff2e6f7267")), dns(octets("eda080f09f92c0af"))],
  },
  "a SAN with U+0000": { subjectAltName: [dns("a.example.org\0.evil.example")] },
  "an empty SAN": { subjectAltName: [dns(""), dns("b.example.org")] },
  "e-mail, URI and IP address among the SANs": {
    subjectAltName: [
      generalName(1, "ops@example.org"),
      dns("b.example.org"),
      generalName(6, "https://example.org/"),
      generalName(7, octets("c0000207")),
      generalName(7, octets("20010db8000000000000000000000001")),
    ],
  },
  "no DNS name among the SANs": { subjectAltName: [generalName(7, octets("c0000207"))] },
  PrintableString: named(organization(printable("A & B*")), commonName(printable("p.example.org"))),
  IA5String: named(organization(ia5!("O")), commonName(ia5!("_i@example.org"))),
  NumericString: named(organization(numeric!("1 2")), commonName(numeric!("3"))),
  "T61String, Latin-1": named(organization(t61!("S\xf6hne")), commonName(t61!("b\xfccher.example.org"))),
  "T61String, UTF-8": named(
    organization(t61!(Buffer.from("Söhne"))),
    commonName(t61!(Buffer.from("bücher"))),
  ),
  BMPString: named(organization(utf16("Söhne \u{1f4a9}")), commonName(utf16("b.example.org"))),
  "BMPString with an end": named(organization(utf16("O\0")), commonName(utf16("\0"))),
  "BMPString with a lone surrogate": named(organization(utf16("O\ud800")), commonName(utf16("\udc00x"))),
  UniversalString: named(organization(universal!(octets("0000004f"))), commonName(utf8String("u"))),
  VisibleString: named(organization(visible!("O")), commonName(visible!("v.example.org"))),
  "an OCTET STRING for a name": named(organization(octetString(octets("4f"))), commonName(utf8String("o"))),
  "a number for a name": named(organization(der(0x02, octets("05"))), commonName(utf8String("n"))),
  "a value nested 20 deep": named(attribute(65, nestedIn(20, utf8String("x"))), commonName(utf8String("d"))),
  "a value with a tag of 31 and more": named(
    attribute(65, octets("bf8101020500")),
    commonName(utf8String("t")),
  ),
  "the identifier of CN padded": named(set(sequence(octets("060480550403"), utf8String("padded")))),
  "serial 0": { serial: octets("00") },
  "serial -1": { serial: octets("ff") },
  "serial -16": { serial: octets("f0") },
  "serial -128": { serial: octets("80") },
  "serial -129": { serial: octets("ff7f") },
  "a serial of 21 octets": { serial: octets(`00${"f1".repeat(20)}`) },
  "a negative serial of 21 octets": { serial: octets("81".repeat(21)) },
  "a serial of 1,000 digits": { serial: octets(`7f${"00".repeat(499)}`) },
  "a serial of 1,002 digits": { serial: octets(`7f${"00".repeat(500)}`) },
  "from year 1": { notBefore: generalizedTime("00010101000000Z") },
  "from year 49": { notBefore: generalizedTime("00490228235959Z") },
  "from year 99 to 9999": {
    notBefore: generalizedTime("00990101000000Z"),
    notAfter: generalizedTime("99991231235959Z"),
  },
  "from year 0": { notBefore: generalizedTime("00000101000000Z") },
  "from 1950 to 2049 in UTCTime": { notBefore: utcTime("500101000000Z"), notAfter: utcTime("491231235959Z") },
  "from 1968 to 1970 in UTCTime": { notBefore: utcTime("681231235959Z"), notAfter: utcTime("700101000000Z") },
  "UTCTime without seconds": { notBefore: utcTime("2701010000Z") },
  "UTCTime with an offset": {
    notBefore: utcTime("270101000000+0130"),
    notAfter: utcTime("280101000000-0530"),
  },
  "GeneralizedTime with an offset": { notBefore: generalizedTime("20270101000000+0130") },
  "GeneralizedTime before 2050": { notBefore: generalizedTime("20270101000000Z") },
  "the end before the beginning": { notAfter: utcTime("260101000000Z") },
  "an unknown critical extension": { extensions: [extensionOf("1.2.3.4", octets("ff"), true)] },
};
