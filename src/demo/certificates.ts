import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { bitString, sequence } from "./der.ts";
import {
  type CtLogKey,
  createCtLogKey,
  type PreCert,
  poisonExtension,
  sctListExtension,
  signedCertificateTimestamp,
} from "./sct.ts";
import { type CertificateFields, type DistinguishedName, ecdsaWithSha256, tbsCertificate } from "./x509.ts";

/** A certificate together with its fields, so that nobody has to parse the DER. */
export interface Certificate {
  fields: CertificateFields;
  der: Buffer;
}

/** One act of issuing: a precertificate, and the final certificate that embeds its SCT. */
export interface Issuance {
  fields: CertificateFields;
  /** The precertificate that a CA submits to logs, with the poison extension (RFC 6962 section 3.1). */
  precertificateDer: Buffer;
  /** The final certificate that a web server presents, with the SCT list extension. */
  certificateDer: Buffer;
  /** The PreCert that a log signs: the TBSCertificate without poison and SCT list, and the hash of the issuer's key. */
  preCert: PreCert;
  /** The serialized SCT in the final certificate. The authority's `ctLogKey` signed it. */
  sct: Buffer;
  sctTimestampMs: number;
  /** The issuing authority's certificate first, the root last. */
  chain: Certificate[];
}

export interface IssueRequest {
  dnsNames: string[];
  /** The CN. Default: the first of `dnsNames`, if any. With `""`, the certificate has no CN. */
  commonName?: string;
  organization?: string;
  /** Big-endian octets; leading zeros are allowed. Default: 16 random octets. */
  serial?: Uint8Array;
  /** Default: now. */
  notBeforeEpochSeconds?: number;
  /** Default: 90 days after `notBeforeEpochSeconds`. */
  notAfterEpochSeconds?: number;
}

export interface AuthorityOptions extends DistinguishedName {
  /** The authority above this one; without it, the authority is a self-signed root. */
  parent?: Authority;
  /** The key of the log that signs SCTs. Default: a new key. */
  ctLogKey?: CtLogKey;
}

/** A certificate authority, ECDSA P-256. */
export interface Authority {
  certificate: Certificate;
  /** The authority's own certificate first, the root last. */
  chain: Certificate[];
  publicKey: KeyObject;
  ctLogKey: CtLogKey;
  issue(request: IssueRequest): Issuance;
  /** Signs a certificate with exactly these fields and with further `extensions`. Returns the DER. */
  certify(fields: CertificateFields, spkiDer: Uint8Array, ...extensions: Buffer[]): Buffer;
}

const daySeconds = 86_400;
const domainValidated = "2.23.140.1.2.1";

/** Makes an authority with a key of its own. Its certificate became valid a day ago, and expires in ten years. */
export function createAuthority({
  parent,
  ctLogKey = createCtLogKey(),
  ...name
}: AuthorityOptions): Authority {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const spkiDer = publicKey.export({ type: "spki", format: "der" });
  const subjectKeyId = keyId(spkiDer);
  const issuerKeyHash = createHash("sha256").update(spkiDer).digest();
  const now = Math.floor(Date.now() / 1000);

  const certify: Authority["certify"] = (fields, spki, ...extensions) => {
    const tbsDer = tbsCertificate(fields, spki, extensions);
    return sequence(tbsDer, ecdsaWithSha256, bitString(sign("sha256", tbsDer, privateKey)));
  };
  const fields: CertificateFields = {
    serialHex: serialHex(randomSerial()),
    subject: name,
    issuer: parent?.certificate.fields.subject ?? name,
    notBeforeEpochSeconds: now - daySeconds,
    notAfterEpochSeconds: now + 3650 * daySeconds,
    dnsNames: [],
    isCa: true,
    subjectKeyId,
    authorityKeyId: parent?.certificate.fields.subjectKeyId ?? subjectKeyId,
    caIssuersUrl: null,
    policy: null,
  };
  const certificate = { fields, der: (parent?.certify ?? certify)(fields, spkiDer) };
  const chain = [certificate, ...(parent?.chain ?? [])];

  const issue: Authority["issue"] = (request) => {
    const subjectSpki = newSpki();
    const leaf = leafFields(request, fields, keyId(subjectSpki));
    const preCert = { issuerKeyHash, tbsDer: tbsCertificate(leaf, subjectSpki, []) };
    const sctTimestampMs = Date.now();
    const sct = signedCertificateTimestamp(ctLogKey, preCert, sctTimestampMs);
    return {
      fields: leaf,
      precertificateDer: certify(leaf, subjectSpki, poisonExtension()),
      certificateDer: certify(leaf, subjectSpki, sctListExtension([sct])),
      preCert,
      sct,
      sctTimestampMs,
      chain,
    };
  };
  return { certificate, chain, publicKey, ctLogKey, issue, certify };
}

function leafFields(
  request: IssueRequest,
  issuer: CertificateFields,
  subjectKeyId: Buffer,
): CertificateFields {
  const commonName = request.commonName ?? request.dnsNames[0] ?? "";
  const notBeforeEpochSeconds = request.notBeforeEpochSeconds ?? Math.floor(Date.now() / 1000);
  return {
    serialHex: serialHex(request.serial ?? randomSerial()),
    subject: {
      ...(request.organization === undefined ? {} : { organization: request.organization }),
      ...(commonName === "" ? {} : { commonName }),
    },
    issuer: issuer.subject,
    notBeforeEpochSeconds,
    notAfterEpochSeconds: request.notAfterEpochSeconds ?? notBeforeEpochSeconds + 90 * daySeconds,
    dnsNames: request.dnsNames,
    isCa: false,
    subjectKeyId,
    authorityKeyId: issuer.subjectKeyId,
    caIssuersUrl: "http://ca.invalid/issuer.der",
    policy: domainValidated,
  };
}

/** Makes a public key for a subject. Nobody keeps the private key, because nothing here ever serves TLS. */
function newSpki(): Buffer {
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return publicKey.export({ type: "spki", format: "der" });
}

/** Returns the SHA-1 of the key bits (RFC 5280 section 4.2.1.2, method 1): of a P-256 key, the last 65 octets. */
const keyId = (spkiDer: Buffer): Buffer => createHash("sha1").update(spkiDer.subarray(-65)).digest();

/** Returns 16 random octets. As a number they are neither negative nor 0 (RFC 5280 section 4.1.2.2). */
function randomSerial(): Buffer {
  const octets = randomBytes(16);
  octets[0] = (octets[0]! & 0x7f) | 0x01;
  return octets;
}

function serialHex(octets: Uint8Array): string {
  const hex = Buffer.from(octets)
    .toString("hex")
    .replace(/^(00)+/, "");
  return (hex === "" ? "00" : hex).toUpperCase();
}
