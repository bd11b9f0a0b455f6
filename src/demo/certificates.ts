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

/** A certificate together with what it says, so that nobody has to parse it. */
export interface Certificate {
  fields: CertificateFields;
  der: Buffer;
}

/** One act of issuing: a precertificate, and the final certificate that embeds its SCT. */
export interface Issuance {
  fields: CertificateFields;
  /** With poison extension; what a CA submits to logs (RFC 6962 section 3.1). */
  precertificateDer: Buffer;
  /** With SCT list extension; what a web server presents. */
  certificateDer: Buffer;
  /** TBSCertificate without poison and SCT list, and the issuer's key hash: a log's PreCert. */
  preCert: PreCert;
  /** The serialized SCT in the final certificate, by the authority's `ctLogKey`. */
  sct: Buffer;
  sctTimestampMs: number;
  /** The issuing authority's certificate first, the root last. */
  chain: Certificate[];
}

export interface IssueRequest {
  dnsNames: string[];
  /** Default: the first of `dnsNames`, if any. `""` leaves the CN out. */
  commonName?: string;
  organization?: string;
  /** Big-endian octets, leading zeros allowed. Default: 16 random ones. */
  serial?: Uint8Array;
  /** Default: now. */
  notBeforeEpochSeconds?: number;
  /** Default: 90 days after `notBeforeEpochSeconds`. */
  notAfterEpochSeconds?: number;
}

export interface AuthorityOptions extends DistinguishedName {
  /** The authority above this one; without it, the authority is a self-signed root. */
  parent?: Authority;
  /** The log that makes SCTs. Default: a new one. */
  ctLogKey?: CtLogKey;
}

/** A certificate authority, ECDSA P-256. */
export interface Authority {
  certificate: Certificate;
  /** Its own certificate first, the root last. */
  chain: Certificate[];
  publicKey: KeyObject;
  ctLogKey: CtLogKey;
  issue(request: IssueRequest): Issuance;
  /** Signs a certificate of `fields` as they are, with these further extensions. */
  certify(fields: CertificateFields, spkiDer: Uint8Array, ...extensions: Buffer[]): Buffer;
}

const daySeconds = 86_400;
const domainValidated = "2.23.140.1.2.1";

/** Makes an authority with a key of its own. Its certificate is valid for ten years, a day back. */
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

/** A subject's key that nobody keeps: nothing here ever serves TLS. */
function newSpki(): Buffer {
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return publicKey.export({ type: "spki", format: "der" });
}

/** SHA-1 of the key bits, RFC 5280 section 4.2.1.2 method 1; a P-256 key is the last 65 octets. */
const keyId = (spkiDer: Buffer): Buffer => createHash("sha1").update(spkiDer.subarray(-65)).digest();

/** 128 bits of which the first is 0 and the number is not (RFC 5280 section 4.1.2.2). */
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
