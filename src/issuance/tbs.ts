import { createHash } from "node:crypto";
import { children, type Element, elementAt, encoded, onlyElement, optional, required } from "./der.ts";

const [booleanTag, integerTag, bitStringTag, octetStringTag, objectIdentifierTag] = [1, 2, 3, 4, 6];
const sequenceTag = 0x30;
const [versionTag, issuerUniqueIdTag, subjectUniqueIdTag, extensionsTag] = [0xa0, 0x81, 0x82, 0xa3];

/** Certificate (RFC 5280 section 4.1): tbsCertificate, signatureAlgorithm, signatureValue. */
const certificateFields = [sequenceTag, sequenceTag, bitStringTag].map(required);
/** TBSCertificate (RFC 5280 section 4.1); signature, issuer, validity, subject and public key are the SEQUENCEs. */
const tbsFields = [
  optional(versionTag),
  required(integerTag),
  ...new Array<number>(5).fill(sequenceTag).map(required),
  optional(issuerUniqueIdTag),
  optional(subjectUniqueIdTag),
  optional(extensionsTag),
];
/** Extension (RFC 5280 section 4.1): extnID, critical, extnValue. */
const extensionFields = [required(objectIdentifierTag), optional(booleanTag), required(octetStringTag)];

/** 1.3.6.1.4.1.11129.2.4.3, RFC 6962 section 3.1. */
const poisonId = Buffer.from("060a2b06010401d679020403", "hex");
/** 1.3.6.1.4.1.11129.2.4.2, RFC 6962 section 3.3. */
const sctListId = Buffer.from("060a2b06010401d679020402", "hex");

/**
 * Lower-case hex of the SHA-256 of `preCertTbs(der)`: the same for a precertificate and its final certificate, unless
 * a dedicated precertificate-signing CA signed the precertificate (its issuer and authority key differ).
 *
 * @returns `null` where there are no such bytes; never throws
 */
export function tbsSha256(der: Uint8Array): string | null {
  const tbs = preCertTbs(der);
  return tbs === null ? null : createHash("sha256").update(tbs).digest("hex");
}

/**
 * The TBSCertificate of an X.509 certificate without its poison and SCT list extensions: what logs sign for a
 * precertificate (RFC 6962 section 3.2). Lengths around a removed extension are encoded anew, every other byte stays.
 * Without either extension it is the TBSCertificate as it is. Where a removed one was the only extension, an empty
 * list stays (`a3 02 30 00`), as in certificate-transparency-go (x509/x509.go, removeExtension), which logs run.
 *
 * The values of extensions are octets here, whatever they hold.
 *
 * @param der exactly one certificate
 * @returns `null` for anything that is not DER with the outline of one certificate, and where one of the two
 * extensions is there more than once. Never throws; takes O(length).
 */
export function preCertTbs(der: Uint8Array): Uint8Array | null {
  const certificate = onlyElement(der);
  if (certificate === null || der[certificate.start] !== sequenceTag) return null;
  const tbs = children(der, certificate, certificateFields)?.[0];
  const fields = tbs && children(der, tbs, tbsFields);
  if (!tbs || !fields) return null;
  const extensions = fields.at(-1);
  if (extensions === undefined) return der.subarray(tbs.start, tbs.end);
  const list = children(der, extensions, [required(sequenceTag)])?.[0];
  const removed = list && ctExtensions(der, list);
  if (!list || !removed) return null;

  const kept: Uint8Array[] = [];
  let at = list.contents;
  for (const { start, end } of removed) {
    kept.push(der.subarray(at, start));
    at = end;
  }
  kept.push(der.subarray(at, list.end));
  const before = der.subarray(tbs.contents, extensions.start);
  return encoded(sequenceTag, before, encoded(extensionsTag, encoded(sequenceTag, ...kept)));
}

/** The poison and the SCT list among the extensions, in their order; `null` for malformed or repeated ones. */
function ctExtensions(der: Uint8Array, list: Element): Element[] | null {
  const found = new Map<Buffer, Element>();
  for (let at = list.contents; at < list.end; ) {
    const extension = der[at] === sequenceTag ? elementAt(der, at, list.end) : null;
    const id = extension && children(der, extension, extensionFields)?.[0];
    if (!extension || !id || !isObjectIdentifier(der, id)) return null;
    const idBytes = der.subarray(id.start, id.end);
    const ctId = [poisonId, sctListId].find((bytes) => bytes.equals(idBytes));
    if (ctId !== undefined) {
      // One of each (RFC 5280 section 4.2); removeExtension in certificate-transparency-go refuses more as well.
      if (found.has(ctId)) return null;
      found.set(ctId, extension);
    }
    at = extension.end;
  }
  return [...found.values()];
}

/**
 * Whether the identifier is in its one encoding: no arc padded with 0x80 in front (X.690 section 8.19.2). Logs that
 * are lax about it take a poison so written for a poison.
 */
function isObjectIdentifier(der: Uint8Array, { contents, end }: Element): boolean {
  let startsArc = true;
  for (let i = contents; i < end; i++) {
    if (startsArc && der[i] === 0x80) return false;
    startsArc = der[i]! < 0x80;
  }
  return startsArc && contents < end;
}
