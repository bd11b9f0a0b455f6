import { type DerReader, type Element, Malformed } from "./der.ts";

/** Reads the children of an element in their order, one after the other. */
export class Fields {
  readonly #reader: DerReader;
  readonly #end: number;
  /** The offset at which the next child starts. */
  at: number;

  constructor(reader: DerReader, parent: Element) {
    this.#reader = reader;
    this.#end = parent.end;
    this.at = parent.contents;
  }

  get isAtEnd(): boolean {
    return this.at === this.#end;
  }

  /**
   * Returns the next child and moves past it. Returns `null` and does not move if there is no child, or if its tag is
   * not among `tags`. Without `tags`, every tag fits.
   */
  optional(...tags: number[]): Element | null {
    const element = this.#reader.elementAt(this.at, this.#end);
    if (element === null || (tags.length > 0 && !tags.includes(element.tag))) return null;
    this.at = element.next;
    return element;
  }

  /** Like `optional`, but throws `Malformed` instead of returning `null`. `what` names the child in the message. */
  required(what: string, ...tags: number[]): Element {
    const element = this.optional(...tags);
    if (element === null) throw new Malformed(`there is no ${what} at octet ${this.at}`);
    return element;
  }

  /**
   * Like `optional`, for a child that is an explicit `tag` around an `inner` element whose tag is among `innerTags`.
   * For `isExact` see `DerReader.explicitAt`.
   */
  explicit(tag: number, ...innerTags: number[]): { inner: Element; isExact: boolean } | null {
    const found = this.#reader.explicitAt(this.at, this.#end);
    if (found?.tag !== tag || !innerTags.includes(found.inner.tag)) return null;
    this.at = found.next;
    return found;
  }
}
