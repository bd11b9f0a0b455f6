/**
 * A reader for DER (ITU-T X.690) that copies nothing: elements are offsets into the bytes. It also reads BER, which
 * OpenSSL takes for DER, and remembers where it met any. It never looks inside an element that nobody asks about.
 */

/** Where an element starts, where its contents start and end, and where the element after it starts. */
export interface Element {
  /**
   * The identifier octet: class, constructed bit and tag number. A number of 31 or more, which X.509 has none of, reads as
   * 31, so that it equals no tag of ours.
   */
  tag: number;
  start: number;
  contents: number;
  /** Exclusive. Behind it, an element of indefinite length has two octets more. */
  end: number;
  next: number;
}

/** The bytes are not what a certificate needs at this place. The message is a phrase for people. */
export class Malformed extends Error {}

interface Header {
  tag: number;
  contents: number;
  /** -1 where the length is indefinite. */
  length: number;
  isDer: boolean;
}

const constructedBit = 0x20;
const highTagNumber = 0x1f;
/** Go and OpenSSL refuse larger ones. */
const maxTagNumber = 0x7fff_ffff;
/** OpenSSL joins strings in pieces that are nested this deep (crypto/asn1/tasn_dec.c, ASN1_MAX_STRING_NEST). */
const maxStringNesting = 5;
/** Longer identifiers than this are none of those that certificates are read for, however they are padded. */
const maxObjectIdentifierLength = 64;

export class DerReader {
  readonly bytes: Buffer;
  /** Offset of the first element read so far whose encoding is BER but not DER. */
  berAt: number | null = null;

  constructor(bytes: Uint8Array) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /**
   * The element at `start`, which ends by `limit`; `null` where there is none. Takes constant time, for an indefinite
   * length O(length).
   */
  elementAt(start: number, limit: number): Element | null {
    const header = this.#headerAt(start, limit);
    if (header === null) return null;
    const { tag, contents, length } = header;
    const isIndefinite = length < 0;
    const end = isIndefinite ? this.#endOfContents(contents, limit) : contents + length;
    if (end === null || end > limit) return null;
    if (!header.isDer) this.berAt ??= start;
    return { tag, start, contents, end, next: isIndefinite ? end + 2 : end };
  }

  /**
   * What is inside an explicit tag (X.690 section 8.14) at `start`. `isExact` is false where the tag claims another length
   * than that; certificate-transparency-go never looks at it (asn1/asn1.go, parseField), and goes on behind the inner one.
   */
  explicitAt(
    start: number,
    limit: number,
  ): { tag: number; inner: Element; next: number; isExact: boolean } | null {
    const header = this.#headerAt(start, limit);
    const inner = header && this.elementAt(header.contents, limit);
    if (!header || !inner) return null;
    const outer = this.elementAt(start, limit);
    const isExact = outer?.end === inner.next;
    return { tag: header.tag, inner, next: isExact ? outer.next : inner.next, isExact };
  }

  /** The children of `parent` one after the other. Throws `Malformed` where one breaks off, once the others were given. */
  *children(parent: Element): Generator<Element, void> {
    for (let at = parent.contents; at < parent.end; ) {
      const child = this.elementAt(at, parent.end);
      if (child === null) throw new Malformed(`an element breaks off at octet ${at}`);
      yield child;
      at = child.next;
    }
  }

  /**
   * Whether the element is a SEQUENCE OF or a SET OF, by the tag of one. OpenSSL takes those without the constructed bit
   * as well (crypto/asn1/tasn_dec.c, asn1_template_noexp_d2i), which no DER has.
   */
  isListOf(tag: number, element: Element): boolean {
    if (element.tag === (tag & ~constructedBit)) this.berAt ??= element.start;
    return (element.tag | constructedBit) === tag;
  }

  /**
   * What is in a string of octets or characters. In BER a string may come in pieces, which are joined (X.690 section 8.7);
   * `null` where they cannot be.
   */
  octets(element: Element): Buffer | null {
    if ((element.tag & constructedBit) === 0) return this.bytes.subarray(element.contents, element.end);
    this.berAt ??= element.start;
    const joined = Buffer.alloc(element.end - element.contents);
    const length = this.#copyPieces(element, joined, 0, maxStringNesting);
    return length === null ? null : joined.subarray(0, length);
  }

  /** Copies the octets of a string in pieces to `target`, from `at` on, and returns where they end. */
  #copyPieces(element: Element, target: Buffer, at: number, nestingLeft: number): number | null {
    if ((element.tag & constructedBit) === 0) {
      return at + this.bytes.copy(target, at, element.contents, element.end);
    }
    if (nestingLeft === 0) return null;
    let length: number | null = at;
    for (let next = element.contents; next < element.end; ) {
      const piece = this.elementAt(next, element.end);
      length = piece && this.#copyPieces(piece, target, length, nestingLeft - 1);
      if (piece === null || length === null) return null;
      next = piece.next;
    }
    return length;
  }

  /**
   * The contents of an OBJECT IDENTIFIER, one character for each octet, in the shortest form: Go takes an arc padded with
   * 0x80 in front for the same arc. `""` for identifiers that are too long to be of interest. Throws `Malformed` where the
   * last arc breaks off.
   */
  objectIdentifier({ contents, end }: Element): string {
    if (end > contents && this.bytes[end - 1]! >= 0x80) {
      throw new Malformed(`an object identifier breaks off at octet ${end}`);
    }
    if (end - contents > maxObjectIdentifierLength) return "";
    return this.bytes.toString("latin1", contents, end).replace(/(?<=^|[\0-\x7f])\x80+/g, "");
  }

  /** Tag and length, where they are before `limit`. */
  #headerAt(start: number, limit: number): Header | null {
    const { bytes } = this;
    if (start >= limit) return null;
    let at = start;
    let tag = bytes[at++]!;
    let isDer = true;
    if ((tag & highTagNumber) === highTagNumber) {
      let number = 0;
      let octet: number;
      do {
        if (at >= limit || number > maxTagNumber) return null;
        octet = bytes[at++]!;
        number = number * 0x80 + (octet & 0x7f);
      } while (octet >= 0x80);
      if (number > maxTagNumber) return null;
      if (number < highTagNumber) {
        isDer = false;
        tag = (tag & ~highTagNumber) | number;
      }
    }
    if (at >= limit) return null;
    let length = bytes[at++]!;
    if (length === 0x80) {
      // Only what is constructed can have an end that its contents show (X.690 section 8.1.3.2).
      return (tag & constructedBit) === 0 ? null : { tag, contents: at, length: -1, isDer: false };
    }
    if (length > 0x80) {
      const octets = length & 0x7f;
      if (octets > limit - at) return null;
      const hasPadding = bytes[at] === 0;
      length = 0;
      // Exact to 2^53 and finite at 127 octets: what is too large compares as too large.
      for (let i = 0; i < octets; i++) length = length * 0x100 + bytes[at++]!;
      if (hasPadding || length < 0x80) isDer = false;
    }
    return { tag, contents: at, length, isDer };
  }

  /** Where the contents of an element of indefinite length end. Passes over what is nested, without recursion. */
  #endOfContents(contents: number, limit: number): number | null {
    let open = 1;
    for (let at = contents; at + 2 <= limit; ) {
      if (this.bytes[at] === 0 && this.bytes[at + 1] === 0) {
        if (--open === 0) return at;
        at += 2;
        continue;
      }
      const header = this.#headerAt(at, limit);
      if (header === null) return null;
      if (header.length < 0) open++;
      at = header.contents + Math.max(header.length, 0);
    }
    return null;
  }
}
