import { epochSecondsOf, isText, textOf } from "./asn1-values.ts";
import { DerReader, type Element, Malformed } from "./der.ts";
import { Fields } from "./der-fields.ts";
import { type Extensions, readExtensions } from "./extensions.ts";

const [integerTag, objectIdentifierTag, sequenceTag, setTag] = [0x02, 0x06, 0x30, 0x31];
/** As they are, and as OpenSSL takes them, too: see `isListOf`. */
const sequenceOfTags = [0x30, 0x10];
const bitStringTags = [0x03, 0x23];
const maxUnusedBits = 7;
const timeTags = [0x17, 0x18, 0x37, 0x38];
const [versionTag, extensionsTag] = [0xa0, 0xa3];
const issuerUniqueIdTags = [0x81, 0xa1];
const subjectUniqueIdTags = [0x82, 0xa2];

/** 2.5.4.n, and the letters that servers write for it, in the order of `aggregated`. */
const [commonNameType, organizationType] = ["\x55\x04\x03", "\x55\x04\x0a"];
const letters = new Map([
  ["\x55\x04\x06", "C"],
  [commonNameType, "CN"],
  ["\x55\x04\x07", "L"],
  [organizationType, "O"],
  ["\x55\x04\x0b", "OU"],
  ["\x55\x04\x08", "ST"],
]);

/** Issuer or subject. What is absent is `null`, as is what is empty. */
export interface DistinguishedName {
  /** The last of several, as all servers write it. */
  cn: string | null;
  /** Several are joined by commas, as certstream-server-go does; the others write the last. */
  o: string | null;
  /** `/C=US/CN=R11/O=Let's Encrypt`; without the attributes that are not there. */
  aggregated: string | null;
}

/** A certificate taken apart (RFC 5280 section 4.1). */
export interface X509 {
  reader: DerReader;
  tbs: Element;
  serial: Element;
  issuer: DistinguishedName;
  subject: DistinguishedName;
  /** `null` for what is no time. */
  notBeforeEpochSeconds: number | null;
  notAfterEpochSeconds: number | null;
  publicKeyInfo: Element;
  /** From the tag of the extensions to the end of their list; `null` where there are none. */
  extensionsStart: number | null;
  extensions: Extensions;
  /** Why it has no TBSCertificate that everybody would agree on; `null` where it has one. */
  problem: string | null;
}

/**
 * Takes a certificate apart, as liberal as certificate-transparency-go and OpenSSL together: whatever either of them reads
 * as a certificate is one here (the interop tests hold it to that), and a little more, since neither the contents of keys
 * nor of most extensions are looked at. Takes O(length).
 *
 * @throws Malformed for other bytes
 */
export function readX509(der: Uint8Array): X509 {
  const reader = new DerReader(der);
  const certificate = reader.elementAt(0, der.length);
  if (certificate?.tag !== sequenceTag) throw new Malformed("the bytes are no ASN.1 SEQUENCE");
  const fields = new Fields(reader, certificate);
  const tbs = fields.required("TBSCertificate", sequenceTag);
  readAlgorithm(reader, fields.required("signature algorithm", sequenceTag));
  readBitString(reader, fields.required("signature", ...bitStringTags));
  const read = readTbs(reader, tbs);
  if (certificate.next < der.length) read.problem ??= "other bytes follow the certificate";
  if (reader.berAt !== null) read.problem ??= `it is BER, not DER, at octet ${reader.berAt}`;
  return read;
}

function readTbs(reader: DerReader, tbs: Element): X509 {
  const fields = new Fields(reader, tbs);
  const problems: string[] = [];
  const version = fields.explicit(versionTag, integerTag);
  if (version) requireDigits(version.inner);
  if (version?.isExact === false) problems.push("its version has another length than its tag says");
  const serial = fields.required("serial number", integerTag);
  requireDigits(serial);
  readAlgorithm(reader, fields.required("signature algorithm", sequenceTag));
  const issuer = readName(reader, fields.required("issuer", ...sequenceOfTags));
  const validity = new Fields(reader, fields.required("validity", sequenceTag));
  const [notBefore, notAfter] = [
    validity.required("beginning", ...timeTags),
    validity.required("end", ...timeTags),
  ];
  const subject = readName(reader, fields.required("subject", ...sequenceOfTags));
  const publicKeyInfo = fields.required("public key", sequenceTag);
  const keyFields = new Fields(reader, publicKeyInfo);
  readAlgorithm(reader, keyFields.required("algorithm of the public key", sequenceTag));
  readBitString(reader, keyFields.required("bits of the public key", ...bitStringTags));
  fields.optional(...issuerUniqueIdTags);
  fields.optional(...subjectUniqueIdTags);
  const extensionsStart = fields.at;
  const wrapped = fields.explicit(extensionsTag, ...sequenceOfTags);
  const extensions = readExtensions(reader, wrapped?.inner ?? null);
  if (wrapped?.isExact === false) problems.push("its extensions have another length than their tag says");
  if (!fields.isAtEnd) problems.push("something follows the fields that a TBSCertificate has");
  if (extensions.problem !== null) problems.push(extensions.problem);

  const timeOf = (time: Element): number | null => {
    const octets = reader.octets(time);
    return octets && epochSecondsOf(time.tag, octets);
  };
  return {
    reader,
    tbs,
    serial,
    issuer,
    subject,
    notBeforeEpochSeconds: timeOf(notBefore),
    notAfterEpochSeconds: timeOf(notAfter),
    publicKeyInfo,
    extensionsStart: wrapped === null ? null : extensionsStart,
    extensions,
    problem: problems[0] ?? null,
  };
}

/** AlgorithmIdentifier (RFC 5280 section 4.1.1.2). What is in its parameters, and what follows them, is passed over. */
function readAlgorithm(reader: DerReader, algorithm: Element): void {
  const fields = new Fields(reader, algorithm);
  reader.objectIdentifier(fields.required("identifier of an algorithm", objectIdentifierTag));
  if (!fields.isAtEnd) fields.required("parameter of an algorithm");
}

/** The count of unused bits, then the bits (X.690 section 8.6.2). */
function readBitString(reader: DerReader, bits: Element): void {
  const unusedBits = reader.octets(bits)?.[0] ?? maxUnusedBits + 1;
  if (unusedBits > maxUnusedBits) throw new Malformed(`there are no bits at octet ${bits.start}`);
}

function requireDigits({ start, contents, end }: Element): void {
  if (end === contents) throw new Malformed(`there is no number at octet ${start}`);
}

/** Name (RFC 5280 section 4.1.2.4): a SEQUENCE of SETs of SEQUENCEs of type and value. */
function readName(reader: DerReader, name: Element): DistinguishedName {
  const texts = new Map<string, string>();
  reader.isListOf(sequenceTag, name);
  for (const set of reader.children(name)) {
    if (!reader.isListOf(setTag, set))
      throw new Malformed(`there is no part of a name at octet ${set.start}`);
    for (const attribute of reader.children(set)) {
      if (attribute.tag !== sequenceTag) {
        throw new Malformed(`there is no attribute of a name at octet ${attribute.start}`);
      }
      const fields = new Fields(reader, attribute);
      const type = reader.objectIdentifier(fields.required("type of an attribute", objectIdentifierTag));
      const value = fields.required("value of an attribute");
      if (!letters.has(type) || !isText(value.tag)) continue;
      const octets = reader.octets(value);
      const text = octets && textOf(value.tag, octets);
      if (text === null) continue;
      const before = type === commonNameType ? "" : (texts.get(type) ?? "");
      texts.set(type, before === "" ? text : `${before},${text}`);
    }
  }
  const joined = (type: string): string | null => texts.get(type) || null;
  const aggregated = [...letters]
    .map(([type, letter]) => [letter, joined(type)])
    .map(([letter, text]) => (text === null ? "" : `/${letter}=${text}`))
    .join("");
  return { cn: joined(commonNameType), o: joined(organizationType), aggregated: aggregated || null };
}
