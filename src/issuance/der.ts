/**
 * A reader for DER (ITU-T X.690) that copies nothing: elements are offsets into the bytes. The reader also accepts BER,
 * as OpenSSL does, and remembers where it first met BER. It looks inside an element only when the caller asks for that.
 */

/** Where an element starts, where its contents start and end, and where the element after it starts. */
export interface Element {
  /**
   * The identifier octet: class, constructed bit and tag number. A tag number of 31 or more reads as 31. X.509 has no
   * such tags, so an element with one equals no tag that certwatch looks for.
   */
  tag: number;
  start: number;
  contents: number;
  /** The end of the contents, exclusive. An element of indefinite length has two more octets after its contents. */
  end: number;
  next: number;
}

/** The error for bytes that are not what a certificate needs at their place. The message is a phrase for people. */
export class Malformed extends Error {}

interface Header {
  tag: number;
  contents: number;
  /** The length of the contents in octets; -1 if the length is indefinite. */
  length: number;
  isDer: boolean;
}

const constructedBit = 0x20;
const highTagNumber = 0x1f;
/** The largest tag number that Go and OpenSSL accept. */
const maxTagNumber = 0x7fff_ffff;
/** The deepest nesting of string pieces that OpenSSL joins (crypto/asn1/tasn_dec.c, ASN1_MAX_STRING_NEST). */
const maxStringNesting = 5;
/** The longest object identifier that is read, in octets. certwatch looks for shorter ones only, even when padded. */
const maxObjectIdentifierLength = 64;

export class DerReader {
  readonly bytes: Buffer;
  /** Offset of the first element read so far whose encoding is BER but not DER. */
  berAt: number | null = null;

  constructor(bytes: Uint8Array) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /**
   * Returns the element at `start`; `null` if no element there ends by `limit`. Takes constant time, but O(length) if
   * the element has an indefinite length.
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
   * Returns the element inside the explicit tag (X.690 section 8.14) at `start`; `null` if there is none. `isExact` is
   * false if the length that the explicit tag claims is not the length of the inner element.
   * certificate-transparency-go ignores the claimed length (asn1/asn1.go, parseField) and goes on after the inner
   * element; then `next` is there, too.
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

  /** Yields the children of `parent` in their order. At a child that breaks off, throws `Malformed`. */
  *children(parent: Element): Generator<Element, void> {
    for (let at = parent.contents; at < parent.end; ) {
      const child = this.elementAt(at, parent.end);
      if (child === null) throw new Malformed(`an element breaks off at octet ${at}`);
      yield child;
      at = child.next;
    }
  }

  /**
   * Whether the element is a SEQUENCE OF or a SET OF, whichever `tag` says. OpenSSL also accepts the tag without its
   * constructed bit (crypto/asn1/tasn_dec.c, asn1_template_noexp_d2i), which DER does not allow.
   */
  isListOf(tag: number, element: Element): boolean {
    if (element.tag === (tag & ~constructedBit)) this.berAt ??= element.start;
    return (element.tag | constructedBit) === tag;
  }

  /**
   * Returns the contents of an octet string or character string. A BER string may come in pieces (X.690 section 8.7):
   * the pieces are joined. Returns `null` if they cannot be joined.
   */
  octets(element: Element): Buffer | null {
    if ((element.tag & constructedBit) === 0) return this.bytes.subarray(element.contents, element.end);
    this.berAt ??= element.start;
    const joined = Buffer.alloc(element.end - element.contents);
    const length = this.#copyPieces(element, joined, 0, maxStringNesting);
    return length === null ? null : joined.subarray(0, length);
  }

  /**
   * Copies the octets of a string in pieces to `target`, from offset `at` on. Returns the offset where they end; `null`
   * if a piece breaks off or is nested too deep.
   */
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
   * Returns the contents of an OBJECT IDENTIFIER, one character for each octet; `""` if it is too long to be of
   * interest. Leaves out octets 0x80 that pad the front of an arc, since Go reads a padded arc as the same arc. Throws
   * `Malformed` if the last arc breaks off.
   */
  objectIdentifier({ contents, end }: Element): string {
    if (end > contents && this.bytes[end - 1]! >= 0x80) {
      throw new Malformed(`an object identifier breaks off at octet ${end}`);
    }
    if (end - contents > maxObjectIdentifierLength) return "";
    return this.bytes.toString("latin1", contents, end).replace(/(?<=^|[\0-\x7f])\x80+/g, "");
  }

  /** Reads the tag and the length at `start`; `null` if they are invalid or do not end by `limit`. */
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
      // Only a constructed element can have an indefinite length (X.690 section 8.1.3.2).
      return (tag & constructedBit) === 0 ? null : { tag, contents: at, length: -1, isDer: false };
    }
    if (length > 0x80) {
      const octets = length & 0x7f;
      if (octets > limit - at) return null;
      const hasPadding = bytes[at] === 0;
      length = 0;
      // `length` is exact up to 2^53 and finite for 127 octets: a length that is too large compares as too large.
      for (let i = 0; i < octets; i++) length = length * 0x100 + bytes[at++]!;
      if (hasPadding || length < 0x80) isDer = false;
    }
    return { tag, contents: at, length, isDer };
  }

  /**
   * Returns the offset where the contents of an element of indefinite length end; `null` if they do not end by `limit`.
   * Passes over nested elements without recursion.
   */
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
