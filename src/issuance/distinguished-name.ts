import { isText, textOf } from "./asn1-values.ts";
import { type DerReader, type Element, Malformed } from "./der.ts";
import { Fields } from "./der-fields.ts";

const [objectIdentifierTag, sequenceTag, setTag] = [0x06, 0x30, 0x31];

/** The attribute types (2.5.4.n) that servers write, and their letters, in the order of `aggregated`. */
const [commonNameType, organizationType] = ["\x55\x04\x03", "\x55\x04\x0a"];
const letters = new Map([
  ["\x55\x04\x06", "C"],
  [commonNameType, "CN"],
  ["\x55\x04\x07", "L"],
  [organizationType, "O"],
  ["\x55\x04\x0b", "OU"],
  ["\x55\x04\x08", "ST"],
]);

/** The most SETs and attributes, together, that are read of one name. Real names have a dozen attributes. */
const maxParts = 1_000;

/** The name of an issuer or a subject. A field that is absent or empty is `null`. */
export interface DistinguishedName {
  /** The common name. If there are several, the last one, as all servers write it. */
  cn: string | null;
  /** The organization. Several are joined by commas, as in certstream-server-go; other servers write the last one. */
  o: string | null;
  /** All attributes that the name has, such as `/C=US/CN=R11/O=Let's Encrypt`. */
  aggregated: string | null;
  /** Why the name was not read to its end; `null` if it was. */
  problem: string | null;
}

/**
 * Reads a Name (RFC 5280 section 4.1.2.4): a SEQUENCE of SETs of SEQUENCEs, each with a type and a value. Anything
 * after the value is passed over.
 *
 * @throws Malformed if the element is not a Name
 */
export function readName(reader: DerReader, name: Element): DistinguishedName {
  const texts = new Map<string, string>();
  let problem: string | null = null;
  for (const attribute of attributesOf(reader, name)) {
    if (attribute === null) {
      problem = `a name in it has more than ${maxParts} parts`;
      break;
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
  const joined = (type: string): string | null => texts.get(type) || null;
  const aggregated = [...letters]
    .map(([type, letter]) => [letter, joined(type)])
    .map(([letter, text]) => (text === null ? "" : `/${letter}=${text}`))
    .join("");
  return { cn: joined(commonNameType), o: joined(organizationType), aggregated: aggregated || null, problem };
}

/** Yields the attributes of all SETs in their order. If SETs or attributes are too many, yields `null` and ends. */
function* attributesOf(reader: DerReader, name: Element): Generator<Element | null, void> {
  let count = 0;
  reader.isListOf(sequenceTag, name);
  for (const set of reader.children(name)) {
    if (!reader.isListOf(setTag, set))
      throw new Malformed(`there is no part of a name at octet ${set.start}`);
    if (count++ === maxParts) return yield null;
    for (const attribute of reader.children(set)) {
      if (attribute.tag !== sequenceTag) {
        throw new Malformed(`there is no attribute of a name at octet ${attribute.start}`);
      }
      if (count++ === maxParts) return yield null;
      yield attribute;
    }
  }
}
