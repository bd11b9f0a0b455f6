// The encodings in which an answer may quote a request. All work on byte strings: strings with a UTF-8 byte in each
// unit, as `Buffer.toString("latin1")` makes them.

/** A decoded byte string, and where in the original each of its bytes comes from. */
export interface Decoded {
  bytes: string;
  /** For each byte the place in the original at which its encoded form begins, and the place behind that form. */
  starts: number[];
  ends: number[];
}

/**
 * `%41`, `\u0041`, `\x41`, `\/`, `\n`, `&#x41;`, `&#65;`, `&amp;`, and U+0000, which stands between the letters of
 * UTF-16.
 */
const escaped =
  /%([0-9a-f]{2})|\\u([0-9a-f]{4})|\\x([0-9a-f]{2})|\\([\\/"'nrt])|&#x([0-9a-f]{1,6});|&#(\d{1,7});|&(amp|lt|gt|quot|apos|sol);|\0/gi;
const whiteSpace: Record<string, string> = { n: "\n", r: "\r", t: "\t" };
const entities: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", sol: "/" };
/** More layers than any server puts around what it quotes. */
const maxLayers = 4;

export function toByteString(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

/** The text as it is, and with one layer of escapes after the other taken off. */
export function* layersOf(bytes: string): Generator<Decoded> {
  const places = Array.from(bytes, (_, i) => i);
  let layer: Decoded = { bytes, starts: places, ends: places.map((i) => i + 1) };
  for (let i = 0; i < maxLayers; i += 1) {
    yield layer;
    const next = withoutEscapes(layer);
    if (next.bytes.length === layer.bytes.length) return;
    layer = next;
  }
}

function withoutEscapes({ bytes, starts, ends }: Decoded): Decoded {
  const decoded: Decoded = { bytes: "", starts: [], ends: [] };
  const append = (more: string, from: number, to: number) => {
    decoded.bytes += more;
    for (let i = 0; i < more.length; i += 1) {
      decoded.starts.push(starts[from]!);
      decoded.ends.push(ends[to - 1]!);
    }
  };
  let at = 0;
  for (const match of bytes.matchAll(escaped)) {
    for (; at < match.index; at += 1) append(bytes[at]!, at, at + 1);
    at += match[0].length;
    append(meaningOf(match), match.index, at);
  }
  for (; at < bytes.length; at += 1) append(bytes[at]!, at, at + 1);
  return decoded;
}

function meaningOf([, percent, unicode, hex, literal, hexEntity, entity, name]: RegExpExecArray): string {
  if (percent ?? hex) return String.fromCharCode(Number.parseInt((percent ?? hex)!, 16));
  if (literal !== undefined) return whiteSpace[literal] ?? literal;
  if (name !== undefined) return entities[name.toLowerCase()]!;
  if (unicode ?? hexEntity) return codePoint(Number.parseInt((unicode ?? hexEntity)!, 16));
  return entity === undefined ? "" : codePoint(Number(entity));
}

const codePoint = (value: number) => (value <= 0x10ffff ? toByteString(String.fromCodePoint(value)) : "");

/** Runs of base64 (either alphabet, also in lines) and of hexadecimal digits, long enough for six bytes. */
const runs = /[A-Za-z0-9+/_-](?:[A-Za-z0-9+/_-]|\r?\n[A-Za-z0-9+/_-]){7,}={0,2}/g;
const lineEnds = /\r?\n/g;

/** Everything that could be base64 or hexadecimal: its place, and what it may mean. */
export function* blobsOf(bytes: string): Generator<{ start: number; end: number; meanings: string[] }> {
  for (const { 0: run, index: start } of bytes.matchAll(runs)) {
    const digits = run.replaceAll(lineEnds, "");
    // A run may have begun before the place where it could first be told from the text around it.
    const base64 = [0, 1, 2, 3].map((skipped) => Buffer.from(digits.slice(skipped), "base64"));
    const hex = [0, 1].map((skipped) => Buffer.from(digits.slice(skipped), "hex"));
    const meanings = [...base64, ...hex].map((buffer) => buffer.toString("latin1"));
    yield { start, end: start + run.length, meanings };
  }
}
