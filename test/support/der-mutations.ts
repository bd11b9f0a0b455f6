/**
 * Mutations of certificates that know what ASN.1 is: most give bytes that some reader of X.509 still takes for a
 * certificate, which mutations of single octets (`der-edits.ts`) seldom do.
 */

/** Reproducible by its seed (mulberry32). */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }
  /** An integer from 0 to `below` - 1. */
  below(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  }
  oneOf<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)));
  }
}

interface Node {
  identifier: Buffer;
  /** Octets before the children: the count of unused bits in a BIT STRING. */
  prefix: Buffer;
  /** `null` where the contents are octets. */
  children: Node[] | null;
  contents: Buffer;
  length: "minimal" | "padded" | "indefinite" | "longer" | "shorter" | "huge";
}

/** The elements in these bytes, to the last; `null` where they are no DER. Octet and bit strings are looked into. */
function parse(bytes: Buffer): Node[] | null {
  const nodes: Node[] = [];
  for (let at = 0; at < bytes.length; ) {
    const tag = bytes[at]!;
    let length = bytes[at + 1] ?? 0x80;
    if ((tag & 0x1f) === 0x1f || length === 0x80) return null;
    let contentsAt = at + 2;
    if (length > 0x80) {
      const octets = length & 0x7f;
      if (octets > 4 || contentsAt + octets > bytes.length) return null;
      length = bytes.readUIntBE(contentsAt, octets);
      contentsAt += octets;
    }
    if (contentsAt + length > bytes.length) return null;
    const contents = bytes.subarray(contentsAt, contentsAt + length);
    nodes.push({ identifier: Buffer.from([tag]), contents, length: "minimal", ...inside(tag, contents) });
    at = contentsAt + length;
  }
  return nodes;
}

function inside(tag: number, contents: Buffer): Pick<Node, "prefix" | "children"> {
  const none = Buffer.alloc(0);
  if ((tag & 0x20) !== 0) return { prefix: none, children: parse(contents) };
  const skipped = tag === 0x03 && contents[0] === 0 ? 1 : 0;
  const isString = tag === 0x03 || tag === 0x04;
  const children = isString && contents[skipped] === 0x30 ? parse(contents.subarray(skipped)) : null;
  return { prefix: children === null ? none : contents.subarray(0, skipped), children };
}

function encode({ identifier, prefix, children, contents, length }: Node): Buffer {
  const body = children === null ? contents : Buffer.concat([prefix, ...children.map(encode)]);
  if (length === "indefinite") return Buffer.concat([identifier, Buffer.from([0x80]), body, Buffer.alloc(2)]);
  const claimed = Math.max(0, body.length + (length === "longer" ? 1 : length === "shorter" ? -1 : 0));
  return Buffer.concat([identifier, lengthOctets(claimed, length), body]);
}

function lengthOctets(claimed: number, form: Node["length"]): Buffer {
  if (form === "huge") return Buffer.from([0x84, 0x7f, 0xff, 0xff, 0xff]);
  if (form !== "padded" && claimed < 0x80) return Buffer.from([claimed]);
  const octets = Buffer.alloc(4);
  octets.writeUInt32BE(claimed);
  const kept = form === "padded" ? octets : octets.subarray(octets.findIndex((octet) => octet !== 0));
  return Buffer.concat([Buffer.from([0x80 | kept.length]), kept]);
}

const allIn = (nodes: readonly Node[]): Node[] =>
  nodes.flatMap((node) => [node, ...(node.children === null ? [] : allIn(node.children))]);

const hex = (text: string) => Buffer.from(text, "hex");
const universal = [1, 2, 3, 4, 5, 6, 10, 12, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 30];
const tags = [...universal, 0x30, 0x31, 0x24, 0x2c, 0x33, 0x37, 0x80, 0x81, 0x82, 0x83, 0x86, 0x87]
  .concat([0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0x42, 0x62])
  .map((tag) => Buffer.from([tag]));
/** The same tag in the long form, tags of 31 and more, one with a padded number, one that breaks off. */
const longTags = [
  "3f10",
  "1f02",
  "9f02",
  "bf03",
  "bf00",
  "bf1f",
  "3f8100",
  "bf808101",
  "9f8f8f8f8f7f",
  "1fff",
].map(hex);
/** Poison, SCT list, alternative names, constraints, usage, CN, O, and others; padded, empty, broken off. */
const identifiers = [
  "2b06010401d679020403",
  "2b06010401d679020402",
  "551d11",
  "551d13",
  "551d0f",
  "550403",
  "55040a",
]
  .concat(["2b06010401d67902048003", "8055040a", "550480808003", "", "55", "5504ff", "2a8648ce3d030107"])
  .map(hex);
const times = [
  "700101000000Z",
  "491231235959Z",
  "500101000000Z",
  "9912312359Z",
  "990101000000+0100",
  "000101000000Z",
]
  .concat(["00000101000000Z", "00010101000000Z", "00490101000000Z", "20500101000000Z", "99991231235959Z"])
  .concat([
    "20270230000000Z",
    "20270101000000",
    "20270101000000.5Z",
    "202701010000Z",
    "270101240000Z",
    "x",
    "",
  ])
  .map((text) => Buffer.from(text));
const texts = [
  "",
  "www.example.org",
  "WWW.Example.ORG",
  "*.example.org",
  "a\0b.example.org",
  "bücher.example",
  "A,B",
]
  .concat(["https://www.example.org:8443/", "192.0.2.1", "\u{1f4a9}", "x".repeat(200)])
  .map((text) => Buffer.from(text))
  .concat([
    hex("42fc636865722e6578616d706c65"),
    hex("00770077"),
    hex("d800"),
    hex("feff0041"),
    hex("0000007700000077"),
  ])
  .concat([hex("c3"), hex("eda080"), hex("f09f92"), hex("ff"), Buffer.alloc(3)]);
const values = [
  hex("00"),
  hex("ff"),
  hex("01"),
  hex("80"),
  hex("0001"),
  hex("ffff"),
  hex("00ff"),
  hex("7f".repeat(21)),
].concat([
  hex("80".repeat(9)),
  hex("3000"),
  hex("0500"),
  Buffer.alloc(0),
  ...times,
  ...texts,
  ...identifiers,
]);

type Mutation = (node: Node, siblings: Node[], random: Random, pool: readonly Node[]) => void;
const replaceContents = (node: Node, contents: Buffer) => Object.assign(node, { contents, children: null });

const mutations: readonly Mutation[] = [
  (node, _, random) => {
    node.length = random.oneOf(["padded", "indefinite", "indefinite", "longer", "shorter", "huge"]);
  },
  (node, _, random) => {
    node.identifier = random.oneOf(tags);
  },
  (node, _, random) => {
    node.identifier = random.oneOf(longTags);
  },
  (node, _, random) => {
    node.identifier = Buffer.from([node.identifier[0]! ^ (1 << random.below(8))]);
  },
  (node, siblings) => void siblings.splice(siblings.indexOf(node), 1),
  (node, siblings) => void siblings.splice(siblings.indexOf(node), 0, copyOf(node)),
  (node, siblings, random) => {
    const [from, to] = [siblings.indexOf(node), random.below(siblings.length)];
    [siblings[from], siblings[to]] = [siblings[to]!, siblings[from]!];
  },
  (node, siblings, random, pool) =>
    void siblings.splice(
      siblings.indexOf(node) + random.below(2),
      random.below(2),
      copyOf(random.oneOf(pool)),
    ),
  (node, _, random, pool) => {
    node.children?.splice(random.below(node.children.length + 1), 0, copyOf(random.oneOf(pool)));
  },
  (node) => replaceContents(node, Buffer.alloc(0)),
  (node, _, random) => replaceContents(node, random.oneOf(values)),
  (node, _, random) => replaceContents(node, random.oneOf(node.identifier[0] === 6 ? identifiers : texts)),
  (node, siblings, random) => {
    // Both times of a validity, often: the only pair of two such.
    for (const time of siblings.filter(({ identifier }) => [0x17, 0x18].includes(identifier[0]!))) {
      replaceContents(time, random.oneOf(times));
      time.identifier = Buffer.from([random.oneOf([0x17, 0x18])]);
    }
    if (node.identifier[0] === 0x06) replaceContents(node, random.oneOf(identifiers));
  },
  (node, _, random) => {
    const contents = Buffer.from(node.contents);
    if (contents.length > 0) contents[random.below(contents.length)]! ^= 1 << random.below(8);
    replaceContents(node, contents);
  },
  (node, _, random) => {
    const padding = random.oneOf([hex("00"), hex("ff"), hex("80"), hex("0000"), random.bytes(3)]);
    replaceContents(
      node,
      Buffer.concat(random.below(2) ? [padding, node.contents] : [node.contents, padding]),
    );
  },
  (node, _, random) => {
    const inner: Node = { ...node };
    const wrapped: Node = {
      identifier: random.oneOf([hex("30"), hex("31"), hex("a0"), hex("a3"), hex("24")]),
      prefix: Buffer.alloc(0),
      children: [inner],
      contents: inner.contents,
      length: "minimal",
    };
    Object.assign(node, wrapped);
  },
  (node, _, random) => {
    let nested = encode(node);
    for (let depth = 1 + random.below(40); depth > 0; depth--) {
      nested = Buffer.concat([hex("30"), lengthOctets(nested.length, "minimal"), nested]);
    }
    replaceContents(node, nested);
    node.identifier = hex("30");
  },
  (node, _, random) => {
    // A string in pieces (BER).
    const at = random.below(node.contents.length + 1);
    const pieces = [node.contents.subarray(0, at), node.contents.subarray(at)].map((piece) =>
      Buffer.concat([
        random.oneOf([hex("04"), hex("16"), hex("0c")]),
        lengthOctets(piece.length, "minimal"),
        piece,
      ]),
    );
    replaceContents(node, Buffer.concat(pieces));
    node.identifier = Buffer.from([node.identifier[0]! | 0x20]);
    if (random.below(2)) node.length = "indefinite";
  },
];

/** The octets are shared; no mutation changes them in place. */
const copyOf = (node: Node): Node => ({ ...node, children: node.children?.map(copyOf) ?? null });

/** Makes mutants of the originals, which are DER; the same from the same seed. */
export function createMutator(originals: readonly Uint8Array[], seed: number): () => Buffer {
  const random = new Random(seed);
  const trees = originals.flatMap((der) => parse(Buffer.from(der)) ?? []);
  const pool = trees
    .slice(0, 200)
    .flatMap((tree) => allIn([tree]).filter(({ contents }) => contents.length < 500));
  return () => {
    const roots = [copyOf(random.oneOf(trees))];
    for (let left = 1 + random.below(3); left > 0; left--) {
      const lists = [roots, ...allIn(roots).flatMap(({ children }) => (children ? [children] : []))];
      const list = random.oneOf(lists.filter(({ length }) => length > 0));
      if (list === undefined) break;
      random.oneOf(mutations)(random.oneOf(list), list, random, pool);
    }
    return Buffer.concat(roots.map(encode));
  };
}
