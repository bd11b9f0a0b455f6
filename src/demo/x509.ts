import {
  boolean,
  contextConstructed,
  contextPrimitive,
  namedBits,
  objectIdentifier,
  octetString,
  printableString,
  sequence,
  set,
  time,
  unsignedInteger,
  utf8String,
} from "./der.ts";

/** The attributes of a subject or issuer. An absent attribute is left out of the certificate. */
export interface DistinguishedName {
  country?: string;
  organization?: string;
  commonName?: string;
}

/** The fields of a certificate, in the terms of RFC 5280. A precertificate and its final certificate have the same. */
export interface CertificateFields {
  /** The serial number in upper-case hex, with an even number of digits and no leading zero octet. */
  serialHex: string;
  subject: DistinguishedName;
  issuer: DistinguishedName;
  notBeforeEpochSeconds: number;
  notAfterEpochSeconds: number;
  /** The dNSNames of the SAN extension, in their order. If there are none, the certificate has no SAN extension. */
  dnsNames: string[];
  isCa: boolean;
  subjectKeyId: Buffer;
  authorityKeyId: Buffer;
  caIssuersUrl: string | null;
  policy: string | null;
}

/** The AlgorithmIdentifier of ECDSA with SHA-256 (RFC 5758 section 3.2). */
export const ecdsaWithSha256 = sequence(objectIdentifier("1.2.840.10045.4.3.2"));

/** Writes a TBSCertificate (RFC 5280 section 4.1) of version 3. `extensions` come last. */
export function tbsCertificate(fields: CertificateFields, spkiDer: Uint8Array, extensions: Buffer[]): Buffer {
  return sequence(
    contextConstructed(0, unsignedInteger(Buffer.from([2]))),
    unsignedInteger(Buffer.from(fields.serialHex, "hex")),
    ecdsaWithSha256,
    distinguishedName(fields.issuer),
    sequence(time(fields.notBeforeEpochSeconds), time(fields.notAfterEpochSeconds)),
    distinguishedName(fields.subject),
    spkiDer,
    contextConstructed(3, sequence(...standardExtensions(fields), ...extensions)),
  );
}

function distinguishedName({ country, organization, commonName }: DistinguishedName): Buffer {
  const attribute = (type: string, value: Buffer) => set(sequence(objectIdentifier(type), value));
  return sequence(
    ...(country === undefined ? [] : [attribute("2.5.4.6", printableString(country))]),
    ...(organization === undefined ? [] : [attribute("2.5.4.10", utf8String(organization))]),
    ...(commonName === undefined ? [] : [attribute("2.5.4.3", utf8String(commonName))]),
  );
}

/** Returns the extensions of RFC 5280 section 4.2 that public CAs set. */
function standardExtensions(fields: CertificateFields): Buffer[] {
  const extension = (id: string, critical: boolean, value: Buffer) =>
    sequence(objectIdentifier(id), ...(critical ? [boolean(true)] : []), octetString(value));
  const [digitalSignature, keyCertSign, crlSign] = [0, 5, 6];
  const usage = fields.isCa ? namedBits(keyCertSign, crlSign) : namedBits(digitalSignature);
  const out = [extension("2.5.29.15", true, usage)];
  if (!fields.isCa) out.push(extension("2.5.29.37", false, sequence(objectIdentifier("1.3.6.1.5.5.7.3.1"))));
  out.push(extension("2.5.29.19", true, fields.isCa ? sequence(boolean(true)) : sequence()));
  out.push(extension("2.5.29.14", false, octetString(fields.subjectKeyId)));
  out.push(extension("2.5.29.35", false, sequence(contextPrimitive(0, fields.authorityKeyId))));
  if (fields.caIssuersUrl !== null) {
    const location = contextPrimitive(6, Buffer.from(fields.caIssuersUrl, "latin1"));
    const caIssuers = sequence(objectIdentifier("1.3.6.1.5.5.7.48.2"), location);
    out.push(extension("1.3.6.1.5.5.7.1.1", false, sequence(caIssuers)));
  }
  if (fields.dnsNames.length > 0) {
    const names = fields.dnsNames.map((name) => contextPrimitive(2, Buffer.from(name, "utf8")));
    out.push(extension("2.5.29.17", false, sequence(...names)));
  }
  if (fields.policy !== null) {
    out.push(extension("2.5.29.32", false, sequence(sequence(objectIdentifier(fields.policy)))));
  }
  return out;
}
