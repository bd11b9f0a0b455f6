import { blobsOf, layersOf, toByteString } from "./decodings.ts";

/** The secrets that a quotation of the receiver's answer must not contain. */
export interface Secrets {
  /** The receiver's URL. Its path and the values in its query are secret: whoever knows the path may post. */
  url: string;
  /** Tokens, passwords, keys. */
  tokens: string[];
}

/** The length of the pieces of secrets that are masked wherever they stand, characters. */
const pieceLength = 6;
/** The length of the shortest token that is masked. A token shorter than `pieceLength` is masked only as a whole. */
const minTokenLength = 3;
/** Matches ordinary words such as `webhook`. A part of a path that is such a word is masked only as a whole. */
const word = /^[a-z]{1,12}$/i;
const nothing = /^$/;
/** How many layers of base64 or hexadecimal digits around a secret are looked through. */
const maxDepth = 2;

/**
 * Replaces pieces of secrets in a receiver's answer by `***`. Receivers quote requests in their errors: n8n's 404
 * repeats the path of the webhook, debugging pages repeat all headers. The mask recognises pieces of six characters or
 * more, in upper or lower case, also if they are percent-encoded, escaped for JSON or HTML, in base64 or hexadecimal,
 * or in several of these.
 */
export class EchoMask {
  readonly #pieces = new Set<string>();
  readonly #wholes = new Set<string>();

  constructor({ url, tokens }: Secrets) {
    const { pathname, search } = new URL(url);
    this.#learn(pathname, /[^/]+/g, pieceLength);
    // In a query, values are secret, and so are parameters without a value. The names of parameters with a value are
    // not.
    this.#learn(search.slice(1), /(?<==)[^&]+|(?<=^|&)[^=&]+(?=&|$)/g, minTokenLength);
    for (const token of tokens) this.#learn(token, /.+/gs, minTokenLength, nothing);
  }

  /** @param text the answer, as bytes in any encoding or as a string */
  mask(text: Buffer | string): string {
    const bytes = typeof text === "string" ? toByteString(text) : text.toString("latin1");
    const hidden = this.#find(bytes, maxDepth).sort((a, b) => a.start - b.start);
    let masked = "";
    let at = 0;
    for (const { start, end } of hidden) {
      if (start > at || (start === at && masked === "")) masked += `${bytes.slice(at, start)}***`;
      at = Math.max(at, end);
    }
    return Buffer.from(masked + bytes.slice(at), "latin1").toString("utf8");
  }

  /**
   * Learns the secrets in `text`.
   *
   * @param parts matches the parts of `text` that are secret
   * @param plain matches the parts that are secret only as a whole, because their pieces stand in ordinary text
   */
  #learn(text: string, parts: RegExp, minLength: number, plain = word): void {
    for (const { bytes } of layersOf(toByteString(text))) {
      const folded = fold(bytes);
      const isOpaque = new Uint8Array(folded.length);
      for (const { 0: part, index } of folded.matchAll(parts)) {
        if (part.length >= minLength) this.#wholes.add(part);
        if (!plain.test(part)) isOpaque.fill(1, index, index + part.length);
      }
      for (let at = 0; at + pieceLength <= folded.length; at += 1) {
        const isSecret = isOpaque.subarray(at, at + pieceLength).includes(1);
        if (isSecret) this.#pieces.add(folded.slice(at, at + pieceLength));
      }
    }
  }

  /** Returns the places in `bytes` that must be hidden, in any order; they may overlap. */
  #find(bytes: string, depth: number): { start: number; end: number }[] {
    const found: { start: number; end: number }[] = [];
    for (const layer of layersOf(bytes)) {
      const add = (from: number, to: number) =>
        found.push({ start: layer.starts[from]!, end: layer.ends[to - 1]! });
      const folded = fold(layer.bytes);
      for (let at = 0; at + pieceLength <= folded.length; at += 1) {
        if (this.#pieces.has(folded.slice(at, at + pieceLength))) add(at, at + pieceLength);
      }
      for (const whole of this.#wholes) {
        for (let at = folded.indexOf(whole); at >= 0; at = folded.indexOf(whole, at + 1)) {
          add(at, at + whole.length);
        }
      }
      if (depth === 0) continue;
      for (const { start, end, meanings } of blobsOf(layer.bytes)) {
        if (meanings.some((meaning) => this.#find(meaning, depth - 1).length > 0)) add(start, end);
      }
    }
    return found;
  }
}

/** Returns the text for comparison: in lower case, and with a space for `+`, which stands for a space in a query. */
const fold = (bytes: string) => bytes.toLowerCase().replaceAll("+", " ");
