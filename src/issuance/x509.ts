import { epochSecondsOf } from "./asn1-values.ts";
import { DerReader, type Element, Malformed } from "./der.ts";
import { Fields } from "./der-fields.ts";
import { type DistinguishedName, readName } from "./distinguished-name.ts";
import { type Extensions, readExtensions } from "./extensions.ts";

const [integerTag, objectIdentifierTag, sequenceTag] = [0x02, 0x06, 0x30];
/** The tag of a SEQUENCE OF, with the constructed bit and without, as OpenSSL also accepts it: see `isListOf`. */
const sequenceOfTags = [0x30, 0x10];
const bitStringTags = [0x03, 0x23];
const maxUnusedBits = 7;
const timeTags = [0x17, 0x18, 0x37, 0x38];
const [versionTag, extensionsTag] = [0xa0, 0xa3];
const issuerUniqueIdTags = [0x81, 0xa1];
const subjectUniqueIdTags = [0x82, 0xa2];

/** The parts of a certificate (RFC 5280 section 4.1). */
export interface X509 {
  reader: DerReader;
  tbs: Element;
  serial: Element;
  issuer: DistinguishedName;
  subject: DistinguishedName;
  /** The beginning of the validity, then its end; `null` if the certificate has no valid time there. */
  notBeforeEpochSeconds: number | null;
  notAfterEpochSeconds: number | null;
  publicKeyInfo: Element;
  /** The offset of the tag around the extensions; `null` if the certificate has no extensions. */
  extensionsStart: number | null;
  extensions: Extensions;
  /** Why different readers may find different TBSCertificates in the bytes; `null` if all find the same. */
  problem: string | null;
}

/**
 * Reads a certificate. Accepts all that certificate-transparency-go or OpenSSL reads as a certificate (the interop
 * tests check this), and a little more, since it does not look into keys and most extensions. Takes O(length).
 *
 * @throws Malformed if the bytes are no such certificate
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
  for (const { problem } of [issuer, subject, extensions]) if (problem !== null) problems.push(problem);

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

/** Checks an AlgorithmIdentifier (RFC 5280 section 4.1.1.2). Does not look into its parameters or behind them. */
function readAlgorithm(reader: DerReader, algorithm: Element): void {
  const fields = new Fields(reader, algorithm);
  reader.objectIdentifier(fields.required("identifier of an algorithm", objectIdentifierTag));
  if (!fields.isAtEnd) fields.required("parameter of an algorithm");
}

/** Checks a BIT STRING: its first octet counts the unused bits in the last octet (X.690 section 8.6.2). */
function readBitString(reader: DerReader, bits: Element): void {
  const unusedBits = reader.octets(bits)?.[0] ?? maxUnusedBits + 1;
  if (unusedBits > maxUnusedBits) throw new Malformed(`there are no bits at octet ${bits.start}`);
}

function requireDigits({ start, contents, end }: Element): void {
  if (end === contents) throw new Malformed(`there is no number at octet ${start}`);
}
