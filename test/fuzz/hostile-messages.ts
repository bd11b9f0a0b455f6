import fc from "fast-check";
import { arbitraryName } from "../support/arbitrary-names.ts";
import { type ByteEdit, edited } from "../support/byte-edits.ts";
import { serverMessages } from "../support/server-messages.ts";
import type { Random } from "./random.ts";

const writers = Object.values(serverMessages);
const editKinds = [
  "flip",
  "insert",
  "delete",
  "repeat",
  "truncate",
  "upper",
  "escape",
  "pretty",
  "duplicate",
  "duplicate",
  "nameless",
];
const tokens = [
  ...['"', "\\", ".", "]", "[", ",", ":", "{", "}", " ", "\t", "\n", "é", "\0", '""', '","', '"]', '["'],
  ...[
    "\\u002e",
    "\\u0022",
    "*.",
    "..",
    '"all_domains":[',
    '"leaf_cert":{',
    ',"all_domains":["a.org"]',
    '\\"',
  ],
];
const texts = [
  ...[
    "",
    "",
    "Example Trust",
    'O=A "quoted", [bracketed] \\ name & Sons\nDNS:example.org, é',
    "]\\",
    '"',
    "\\",
    "\u2028",
    "DNS:example.org, DNS:*.a.co, DNS:_1.example.org",
  ],
  ...[
    '"all_domains":["a.net"]',
    '","leaf_cert":{"all_domains":["a.net"],"',
    ',"all_domains',
    '","all_domains":["a.org"],"x":"',
    '","leaf_cert":{"all_domains":["a.net"]},"all_domains":["a.net"],"x":"',
    '\\","leaf_cert":{"all_domains":["a.net"]},"all_domains":["a.net"],"x":"',
    '","message_type":"heartbeat"}',
  ],
  ...['","message_type":"certificate_update"}', '{"all_domains":[', '_domains":["a.org"]', "\ud800", "\0"],
];
const plainLabels = ["example", "EXAMPLE", "a", "org", "org", "co", "xn--bcher-kva", "_1"];

/** Names to choose from: all the oddities of the rules, drawn from the generator that the property tests use. */
export const namePool = (seed: number): string[] => fc.sample(arbitraryName, { numRuns: 20_000, seed });

/** A name: plain for the most part, since only plain ones can be passed over. */
export function aName(random: Random, pool: readonly string[]): string {
  if (random.oneIn(3)) return random.pick(pool);
  const labels = Array.from({ length: 1 + random.below(4) }, () => random.pick(plainLabels));
  return (random.oneIn(4) ? "*." : "") + labels.join(".");
}

/** Messages of each server with each hostile text, cut where names go: putting new names in takes a tenth of the time. */
const skeletons: string[][] = writers.flatMap((write) =>
  texts.flatMap((text) =>
    [0, 1, 2].map((chainLength) => {
      const chainNames = Array.from({ length: chainLength }, () => ["@"]);
      return write({ names: ["@"], text, chainNames }).split('["@"]');
    }),
  ),
);

/** A row of a watch list: half of them short, so that they cover much. */
export const aRow = (random: Random, pool: readonly string[]): string =>
  random.oneIn(2) ? `${random.pick(plainLabels)}.${random.pick(plainLabels)}` : aName(random, pool);

/** A message as one of the servers writes it, with chosen names and hostile text. */
export function aMessage(random: Random, pool: readonly string[]): Buffer {
  const [first = "", ...others] = random.pick(skeletons);
  let text = first;
  for (const other of others) {
    text += JSON.stringify(Array.from({ length: random.below(4) }, () => aName(random, pool))) + other;
  }
  return Buffer.from(text);
}

const separators = ["", "", "\n", "\n", " ", "\r\n", "\n\n", "\u001e", ",", "\0", "x"];
const trailers = [
  ...[
    '{"message_type":"heartbeat"}',
    '{"message_type":"heartbeat"}\n',
    "{}",
    "}",
    "]",
    "x",
    '"',
    "null",
    "{",
  ],
  ...[
    '{"message_type":"dns_entries","data":["example.org"]}',
    '{"data":{"leaf_cert":{"all_domains":["a.org"',
  ],
];

/** A frame as a broken server or proxy sends it: messages behind one another, or a message with something behind it. */
export function aJoinedFrame(random: Random, pool: readonly string[]): Buffer {
  const second = random.oneIn(3) ? Buffer.from(random.pick(trailers)) : aMessage(random, pool);
  const parts = [aMessage(random, pool), Buffer.from(random.pick(separators)), second];
  if (random.oneIn(8)) parts.reverse();
  return Buffer.concat(parts);
}

/** The message with `count` edits. */
export function withEdits(random: Random, pool: readonly string[], message: Buffer, count: number): Buffer {
  let bytes = message;
  for (let i = 0; i < count; i++) bytes = edited(bytes, anEdit(random, pool));
  return bytes;
}

const anEdit = (random: Random, pool: readonly string[]): ByteEdit => ({
  kind: random.pick(editKinds),
  at: random.next(),
  near: random.oneIn(3) ? "anywhere" : "names",
  length: random.below(13),
  token: random.pick(tokens),
  names: random.oneIn(2) ? [aName(random, pool)] : random.some(pool, 2),
});
