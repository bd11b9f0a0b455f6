/**
 * A reader for DER (ITU-T X.690) that copies nothing: elements are offsets into the bytes. As much of ASN.1 as the
 * outline of a certificate needs.
 */

/** Where an element starts, where its contents start, and where both end (exclusive). */
export interface Element {
  start: number;
  contents: number;
  end: number;
}

/** A child that an element has at this place, or may have. */
export interface Field {
  tag: number;
  isOptional: boolean;
}

export const required = (tag: number): Field => ({ tag, isOptional: false });
export const optional = (tag: number): Field => ({ tag, isOptional: true });

/** Certificates nest to 7 or so outside of their extension values, which are octets to this reader. */
const maxDepth = 16;

/**
 * The one element that these bytes are, to the last; `null` for other bytes. Everything constructed in it is known to
 * consist of whole elements; it takes O(length) and bounded stack.
 */
export function onlyElement(der: Uint8Array): Element | null {
  const element = elementAt(der, 0, der.length);
  return element?.end === der.length && isWellFormed(der, element, maxDepth) ? element : null;
}

function isWellFormed(der: Uint8Array, element: Element, depthLeft: number): boolean {
  const isConstructed = (der[element.start]! & 0x20) !== 0;
  if (!isConstructed) return true;
  if (depthLeft === 0) return false;
  for (let at = element.contents; at < element.end; ) {
    const child = elementAt(der, at, element.end);
    if (child === null || !isWellFormed(der, child, depthLeft - 1)) return false;
    at = child.end;
  }
  return true;
}

/**
 * The element at `start` when it ends by `limit`. A length must be definite and in the fewest octets (X.690 section
 * 10.1): Go refuses others too, and what can be written in two ways would have two hashes. Tags of several octets are
 * refused as well; X.509 has none.
 */
export function elementAt(der: Uint8Array, start: number, limit: number): Element | null {
  if (limit - start < 2 || (der[start]! & 0x1f) === 0x1f) return null;
  let contents = start + 2;
  let length = der[start + 1]!;
  if (length >= 0x80) {
    const octets = length & 0x7f;
    if (octets === 0 || octets > limit - contents || der[contents] === 0) return null;
    length = 0;
    // Exact to 2^53 and finite at 127 octets: what is too large compares as too large.
    for (let i = 0; i < octets; i++) length = length * 0x100 + der[contents + i]!;
    if (length < 0x80) return null;
    contents += octets;
  }
  return length <= limit - contents ? { start, contents, end: contents + length } : null;
}

/**
 * The children of `parent`, an element within a well-formed one, when they are exactly these, in their order;
 * `undefined` for an optional one that is not there.
 */
export function children(
  der: Uint8Array,
  parent: Element,
  fields: readonly Field[],
): (Element | undefined)[] | null {
  const found: (Element | undefined)[] = [];
  let at = parent.contents;
  for (const { tag, isOptional } of fields) {
    const isThere = at < parent.end && der[at] === tag;
    const child = isThere ? elementAt(der, at, parent.end) : null;
    if (child === null && !isOptional) return null;
    found.push(child ?? undefined);
    at = child?.end ?? at;
  }
  return at === parent.end ? found : null;
}

/** One element around the contents, its length in the fewest octets (X.690 section 10.1). */
export function encoded(tag: number, ...contents: Uint8Array[]): Buffer {
  const length = contents.reduce((sum, part) => sum + part.length, 0);
  const header = [length];
  if (length >= 0x80) {
    header.pop();
    for (let left = length; left > 0; left = Math.floor(left / 0x100)) header.unshift(left % 0x100);
    header.unshift(0x80 | header.length);
  }
  return Buffer.concat([Buffer.from([tag, ...header]), ...contents]);
}
