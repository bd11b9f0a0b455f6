import { blobsOf, layersOf, toByteString } from "./decodings.ts";

/** What is secret, and what an answer of the receiver must not be quoted with. */
export interface Secrets {
  /** Its path (whoever knows it may post) and its query. */
  url: string;
  /** Tokens, passwords, keys. */
  tokens: string[];
}

/** A piece of a secret of this length is recognised wherever it stands. */
const pieceLength = 6;
/** A shorter token is recognised as a whole; one that is shorter than this hides nothing. */
const minTokenLength = 3;
/** `services`, `webhook`: a part of a path that is such a word is recognised as a whole only. */
const word = /^[a-z]{1,12}$/i;
const nothing = /^$/;
/** How many times base64 or hexadecimal digits may be wrapped into each other. */
const maxDepth = 2;

/**
 * Replaces pieces of secrets in what a receiver answered with `***`. Receivers quote requests in their errors: n8n's 404 has
 * the path of the webhook, debugging pages have all headers. A secret is recognised in any case, in pieces of six
 * characters or more, and also where it is percent-encoded, escaped for JSON or HTML, in base64 or hexadecimal, or several of
 * these.
 */
export class EchoMask {
  readonly #pieces = new Set<string>();
  readonly #wholes = new Set<string>();

  constructor({ url, tokens }: Secrets) {
    const { pathname, search } = new URL(url);
    this.#learn(pathname, /[^/]+/g, pieceLength);
    // A parameter without a value is a value itself. The names of the others are no secret.
    this.#learn(search.slice(1), /(?<==)[^&]+|(?<=^|&)[^=&]+(?=&|$)/g, minTokenLength);
    for (const token of tokens) this.#learn(token, /.+/gs, minTokenLength, nothing);
  }

  /** @param text of any encoding, as bytes or as a string */
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
   * @param parts matches the parts of `text` that are secret
   * @param plain matches parts of which pieces are no secret
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

  /** The places of `bytes` that have to be hidden, in any order; they may overlap. */
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

/** In a query a space is written as `+`. */
const fold = (bytes: string) => bytes.toLowerCase().replaceAll("+", " ");
