import { utf8Text } from "./asn1-values.ts";
import { DerReader, type Element, Malformed } from "./der.ts";
import { Fields } from "./der-fields.ts";

const [booleanTag, objectIdentifierTag, sequenceTag] = [0x01, 0x06, 0x30];
const octetStringTags = [0x04, 0x24];

/** 1.3.6.1.4.1.11129.2.4.3, RFC 6962 section 3.1. */
const poisonId = "\x2b\x06\x01\x04\x01\xd6\x79\x02\x04\x03";
/** 1.3.6.1.4.1.11129.2.4.2, RFC 6962 section 3.3. */
const sctListId = "\x2b\x06\x01\x04\x01\xd6\x79\x02\x04\x02";
/** 2.5.29.17 and 2.5.29.19, RFC 5280 sections 4.2.1.6 and 4.2.1.9. */
const [subjectAltNameId, basicConstraintsId] = ["\x55\x1d\x11", "\x55\x1d\x13"];

/** The tag number of dNSName among the GeneralNames. */
const dnsNameNumber = 2;
const tagNumberBits = 0x1f;
/** The most extensions that are read of one certificate. Real certificates have a dozen. */
const maxExtensions = 1_000;
/** The most names that are read of one certificate. A certificate of 1 MB, more than logs accept, has no more names. */
const maxNames = 300_000;

/** The result of reading the extensions of a certificate. */
export interface Extensions {
  /** The list of extensions; `null` if the certificate has none. */
  list: Element | null;
  /** The poison and SCT list extensions that the certificate has, in their order; one of each at most. */
  ct: Element[];
  isPrecertificate: boolean;
  /** Whether the basic constraints name a CA. Of several, the last counts, as in certificate-transparency-go. */
  isCa: boolean;
  /** The dNSNames of all subject alternative names. (Of several lists, Go and CaliDog's server use only the last.) */
  dnsNames: string[];
  /** How many subject alternative names of any kind were read. */
  nameCount: number;
  /** Why different readers may read different things in the extensions; `null` if all read the same. */
  problem: string | null;
}

/**
 * Reads the extensions in `list`; `null` means that the certificate has none.
 *
 * @throws Malformed if `list` is a SEQUENCE but not a list of extensions
 */
export function readExtensions(reader: DerReader, list: Element | null): Extensions {
  const read: Extensions = {
    list,
    ct: [],
    isPrecertificate: false,
    isCa: false,
    dnsNames: [],
    nameCount: 0,
    problem: null,
  };
  if (list === null) return read;
  try {
    readList(reader, list, read);
  } catch (error) {
    // Go passes over an element here that is not a SEQUENCE, as if there were no extensions.
    if (!(error instanceof Malformed) || list.tag === sequenceTag) throw error;
    read.problem ??= "its extensions are no list";
  }
  return read;
}

function readList(reader: DerReader, list: Element, read: Extensions): void {
  reader.isListOf(sequenceTag, list);
  const ctIds = new Set<string>();
  let count = 0;
  for (const extension of reader.children(list)) {
    if (count++ === maxExtensions) {
      read.problem = `it has more than ${maxExtensions} extensions`;
      return;
    }
    if (extension.tag !== sequenceTag)
      throw new Malformed(`there is no extension at octet ${extension.start}`);
    const { id, value } = readExtension(reader, extension);
    if (id === poisonId || id === sctListId) {
      read.isPrecertificate ||= id === poisonId;
      // RFC 5280 section 4.2 allows one of each; removeExtension in certificate-transparency-go refuses more, too.
      if (ctIds.has(id)) read.problem ??= `it has two ${id === poisonId ? "poison" : "SCT list"} extensions`;
      else read.ct.push(extension);
      ctIds.add(id);
    } else if (id === subjectAltNameId) {
      const problem = readSubjectAltName(reader, value, read);
      read.problem ??= problem;
    } else if (id === basicConstraintsId) {
      read.isCa = isCaByConstraints(reader, value);
    }
  }
}

/** Reads an Extension (RFC 5280 section 4.1): extnID, critical, extnValue. Anything after these is passed over. */
function readExtension(reader: DerReader, extension: Element): { id: string; value: Element } {
  const fields = new Fields(reader, extension);
  const id = reader.objectIdentifier(fields.required("identifier of an extension", objectIdentifierTag));
  const critical = fields.optional(booleanTag);
  if (critical && critical.end - critical.contents !== 1) {
    throw new Malformed(`there is no truth value at octet ${critical.start}`);
  }
  return { id, value: fields.required("value of an extension", ...octetStringTags) };
}

/**
 * Adds the dNSNames in `value` to `read.dnsNames`. The tag number alone makes a name a dNSName, whatever its class, as
 * in certificate-transparency-go (x509/x509.go, forEachSAN). If a name breaks off, the names before it are still added.
 *
 * @returns why other readers may read other names; `null` if all read the same names
 */
function readSubjectAltName(reader: DerReader, value: Element, read: Extensions): string | null {
  const inner = contentsOf(reader, value);
  const names = inner.elementAt(0, inner.bytes.length);
  if (names === null || !inner.isListOf(sequenceTag, names))
    return "its subject alternative names are no list";
  try {
    for (const name of inner.children(names)) {
      if (read.nameCount++ === maxNames) return `it has more than ${maxNames} names`;
      if ((name.tag & tagNumberBits) !== dnsNameNumber) continue;
      // If the pieces cannot be joined, OpenSSL reads no name here, but Go does: it takes the octets as they are.
      const octets = inner.octets(name) ?? inner.bytes.subarray(name.contents, name.end);
      read.dnsNames.push(utf8Text(octets));
    }
  } catch (error) {
    if (error instanceof Malformed) return "its subject alternative names break off";
    throw error;
  }
  if (names.next < inner.bytes.length) return "something follows its subject alternative names";
  return inner.berAt === null ? null : "its subject alternative names are BER, not DER";
}

function isCaByConstraints(reader: DerReader, value: Element): boolean {
  const inner = contentsOf(reader, value);
  const constraints = inner.elementAt(0, inner.bytes.length);
  const isCa = constraints?.tag === sequenceTag && new Fields(inner, constraints).optional(booleanTag);
  return isCa ? inner.bytes.subarray(isCa.contents, isCa.end).some((octet) => octet !== 0) : false;
}

/** Returns a reader for the ASN.1 inside an OCTET STRING. If its pieces cannot be joined, the reader has no bytes. */
const contentsOf = (reader: DerReader, value: Element): DerReader =>
  new DerReader(reader.octets(value) ?? Buffer.alloc(0));
