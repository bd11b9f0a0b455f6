import { isUtf8 } from "node:buffer";
import fc from "fast-check";
import { expect, test } from "vitest";
import { utf8Text } from "../../src/issuance/asn1-values.ts";

/** Go's rule (unicode/utf8, DecodeRune): where no character starts, one octet is one U+FFFD. */
function byGo(octets: Buffer): string {
  let text = "";
  for (let at = 0; at < octets.length; ) {
    const length = [1, 2, 3, 4].find((n) => at + n <= octets.length && isUtf8(octets.subarray(at, at + n)));
    text += length === undefined ? "\ufffd" : octets.toString("utf8", at, at + length);
    at += length ?? 1;
  }
  return text;
}

test.each([
  ["b\u00fccher", "62c3bc63686572"],
  ["\ufffd\ufffdA", "e28241"],
  ["\ufffd\ufffd", "c0af"],
  ["\ufffd".repeat(3), "e08080"],
  ["\ufffd".repeat(3), "eda080"],
  ["\ufffd".repeat(4), "f0808080"],
  ["\ufffd".repeat(4), "f4908080"],
  ["\u{10ffff}\ufffd", "f48fbfbfff"],
  ["\ufffd".repeat(3), "f09f92"],
  ["\0\ufffd", "0080"],
])("%j are the octets %s", (text, hex) => {
  expect(utf8Text(Buffer.from(hex, "hex"))).toBe(text);
});

test("any octets are the text that Go makes of them", () => {
  // Octets at the edges of what may follow what.
  const edges = [0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf].concat([
    0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff,
  ]);
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...edges), { maxLength: 12 }), (octets) => {
      expect(utf8Text(Buffer.from(octets))).toBe(byGo(Buffer.from(octets)));
    }),
    { numRuns: 20_000 },
  );
});
