import { type DerReader, type Element, Malformed } from "./der.ts";

/** The children of an element in their order, one after the other. */
export class Fields {
  readonly #reader: DerReader;
  readonly #end: number;
  /** Where the next one starts. */
  at: number;

  constructor(reader: DerReader, parent: Element) {
    this.#reader = reader;
    this.#end = parent.end;
    this.at = parent.contents;
  }

  get isAtEnd(): boolean {
    return this.at === this.#end;
  }

  /** The next one where its tag is one of these; without tags, whatever its tag is. */
  optional(...tags: number[]): Element | null {
    const element = this.#reader.elementAt(this.at, this.#end);
    if (element === null || (tags.length > 0 && !tags.includes(element.tag))) return null;
    this.at = element.next;
    return element;
  }

  /** The same. Throws `Malformed` where it is not there; the message has `what`. */
  required(what: string, ...tags: number[]): Element {
    const element = this.optional(...tags);
    if (element === null) throw new Malformed(`there is no ${what} at octet ${this.at}`);
    return element;
  }

  /** The next one where it is an explicit tag around an element with one of the other tags. */
  explicit(tag: number, ...innerTags: number[]): { inner: Element; isExact: boolean } | null {
    const found = this.#reader.explicitAt(this.at, this.#end);
    if (found?.tag !== tag || !innerTags.includes(found.inner.tag)) return null;
    this.at = found.next;
    return found;
  }
}
