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
/** Certificates have a dozen. */
const maxExtensions = 1_000;
/** A certificate of 1 MB, more than logs accept, has no more. */
const maxNames = 300_000;

/** What the extensions of a certificate say. */
export interface Extensions {
  /** The list of extensions; `null` where there is none. */
  list: Element | null;
  /** The poison and the SCT list, where they are there, in their order. */
  ct: Element[];
  isPrecertificate: boolean;
  /** By the last of several basic constraints, as in certificate-transparency-go. */
  isCa: boolean;
  /** The dNSNames of all subject alternative names (Go and CaliDog's server have those of the last of several). */
  dnsNames: string[];
  /** How many subject alternative names of any kind were read. */
  nameCount: number;
  /** Why they say something else to different readers; `null` where they do not. */
  problem: string | null;
}

/** @throws Malformed where the list is none */
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
    // To Go, what is no SEQUENCE there is no extension, and is passed over.
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
      // One of each (RFC 5280 section 4.2). removeExtension in certificate-transparency-go refuses more, too.
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

/** Extension (RFC 5280 section 4.1): extnID, critical, extnValue. Whatever follows is passed over. */
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
 * Adds the dNSNames to those of `read`. Like certificate-transparency-go (x509/x509.go, forEachSAN) it asks for the tag
 * number alone, not for the class. Names before one that breaks off count.
 *
 * @returns why others may read other names; `null` where they do not
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
      // Where OpenSSL has no pieces to join, Go's reading is left: the octets as they are.
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

/** What an OCTET STRING holds, to be read as ASN.1. */
const contentsOf = (reader: DerReader, value: Element): DerReader =>
  new DerReader(reader.octets(value) ?? Buffer.alloc(0));
