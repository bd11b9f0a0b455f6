import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Prefilter } from "../../src/feed/prefilter.ts";
import { buildWatchList } from "../../src/watchlist/matcher.ts";
import { tableHas } from "../../src/watchlist/name-hash.ts";
import { arbitraryEntries, arbitraryName } from "../support/arbitrary-names.ts";
import { type ByteEdit, edited } from "../support/byte-edits.ts";
import { naiveMatch } from "../support/naive-matcher.ts";
import { hasSecondNames } from "../support/second-names.ts";
import { goMessage, JsonText, objectText, rustMessage, serverMessages } from "../support/server-messages.ts";

const prefilter = new Prefilter();

const servers = Object.entries(serverMessages);
const { table } = (await buildWatchList(["example.org", "foo.example.org"])).watchList;
const ordinary = {
  names: ["shop.example.com", "*.Example.COM", "xn--bcher-kva.example", "_acme.1.2-3.net"],
  text: 'O=A "quoted", [bracketed] \\ name & Sons\nDNS:example.org, é',
  chainNames: [["R11"], ["ISRG Root X1", "é"]],
};
const skips = (text: string) => prefilter.canSkip(Buffer.from(text), table);

/** Whether the whole parser and the naive matcher find something to report in the message. */
function isHit(message: Buffer, entries: readonly string[]): boolean {
  // biome-ignore lint/suspicious/noExplicitAny: it is whatever the bytes say
  let parsed: any;
  try {
    parsed = JSON.parse(message.toString());
  } catch {
    return false;
  }
  const names =
    parsed?.message_type === "certificate_update" ? parsed.data?.leaf_cert?.all_domains : undefined;
  if (!Array.isArray(names)) return false;
  return names.some((name) => typeof name === "string" && naiveMatch(entries, name).length > 0);
}

describe("canSkip, on the messages of each server", () => {
  // The chain's names of CaliDog's are not told apart from the leaf's: only plain ones can be skipped.
  const chainNames = { calidog: [["r11.example.com"]] } as Record<string, string[][]>;
  it.each(servers)("%s: skips an ordinary message", (server, write) => {
    expect(skips(write({ ...ordinary, chainNames: chainNames[server] ?? ordinary.chainNames }))).toBe(true);
    expect(skips(write({ names: [], text: "", chainNames: [] }))).toBe(true);
    expect(skips(write({ names: ["", "org", "*.com", "notexample.org"], text: "", chainNames: [] }))).toBe(
      true,
    );
  });

  it.each(servers)("%s: parses what is covered, first, last, in the middle", (_, write) => {
    for (const name of [
      "example.org",
      "*.EXAMPLE.org",
      "a.b.example.org",
      "*.org",
      ".example.org",
      "*.*.example.org",
    ]) {
      expect(skips(write({ ...ordinary, names: [name] })), name).toBe(false);
      expect(skips(write({ ...ordinary, names: [name, ...ordinary.names] })), name).toBe(false);
      expect(skips(write({ ...ordinary, names: [...ordinary.names, name] })), name).toBe(false);
      expect(skips(write({ ...ordinary, names: ["a.net", name, "b.net"] })), name).toBe(false);
    }
  });

  it.each(servers)("%s: parses every name that is not plain", (_, write) => {
    for (const name of [
      "a.com.",
      "a.com/",
      "a com",
      "é.com",
      "\0",
      'a"',
      "a\\",
      "a]",
      "a,b",
      "http://a.com",
      "[",
    ]) {
      expect(skips(write({ ...ordinary, names: [name] })), name).toBe(false);
      expect(skips(write({ ...ordinary, names: ["a.net", name, "b.net"] })), name).toBe(false);
    }
  });
});

describe("canSkip", () => {
  const clear = goMessage({ ...ordinary, names: ["a.net"] }, "lite");
  const names = '"all_domains":["a.net"]';

  it.each([
    ["other white space", clear.replace(names, '"all_domains": ["a.net"]')],
    ["white space in the array", clear.replace(names, '"all_domains":[ "a.net"]')],
    ["white space between names", clear.replace(names, '"all_domains":["a.net", "b.net"]')],
    ["an escape in a name", clear.replace(names, '"all_domains":["\\u0061.net"]')],
    ["no array", clear.replace(names, '"all_domains":"a.net"')],
    ["a number among the names", clear.replace(names, '"all_domains":["a.net",1]')],
    ["an array among the names", clear.replace(names, '"all_domains":["a.net",["b.net"]]')],
    ["no names at all", clear.replace(`${names},`, "")],
    ["an unterminated array", clear.replace('"a.net"]', '"a.net"').replaceAll("]", "")],
    ["a missing comma", clear.replace(names, '"all_domains":["a.net""b.net"]')],
    ["another separator", clear.replace(names, '"all_domains":["a.net";"b.net"]')],
    ["a missing quotation mark", clear.replace(names, '"all_domains":[/b.net"]')],
    ["no colon", clear.replace(names, '"all_domains" ["a.net"]')],
    ["a brace for a bracket", clear.replace(names, '"all_domains":{"a.net"]')],
    ["something before it", `x${clear}`],
    ["its end missing", rustMessage({ ...ordinary, names: ["a.net"] }, "full").slice(0, -3)],
    ["a trailing comma", clear.replace(names, '"all_domains":["a.net",]')],
    ["another type", clear.replace("certificate_update", "heartbeat")],
    ["no type", clear.replace(',"message_type":"certificate_update"', "")],
    [
      "a type in the middle",
      clear.replace(names, `"message_type":"certificate_update",${names}`).replace(/,"m[^,]*$/, "}"),
    ],
    [
      "two names arrays, the second covered",
      clear.replace(names, `"x":1,${names},"all_domains":["example.org"]`),
    ],
    [
      "two names arrays, the first covered",
      clear.replace(names, `"x":1,"all_domains":["example.org"],${names}`),
    ],
    ["two names arrays, the second unclear", clear.replace(names, `"x":1,${names},"all_domains":[ ]`)],
    ["nothing", ""],
    ["a heartbeat", '{"message_type":"heartbeat"}'],
  ])("parses a message with %s", (_, text) => {
    expect(skips(clear)).toBe(true);
    expect(skips(text)).toBe(false);
  });

  it.each(servers)("%s: is not led astray by text that reads like another array", (_, write) => {
    const fake = '","leaf_cert":{"all_domains":["a.net"]},"all_domains":["a.net"],"x":"';
    for (const text of [
      fake,
      `\\${fake}`,
      '{"all_domains":[',
      ',"all_domains',
      '","message_type":"heartbeat"}',
    ]) {
      expect(skips(write({ ...ordinary, text, names: ["example.org"] })), text).toBe(false);
      expect(skips(write({ ...ordinary, text, names: ["é.net"] })), text).toBe(false);
    }
  });

  it("finds nothing in an empty table, whatever the hash", () => {
    expect(tableHas({ hashes: new Int32Array(2), mask: 1 }, 0)).toBe(false);
  });

  it("takes a key that ends like another for what it is", () => {
    const fake = new JsonText(objectText([["all_domains", ["a.net"]]]));
    const leaf = new JsonText(
      objectText([
        ["is_ca", false],
        ["all_domains", ["example.org"]],
        ['x"leaf_cert', fake],
      ]),
    );
    const type = ["message_type", "certificate_update"] as [string, string];
    expect(skips(objectText([["data", new JsonText(objectText([["leaf_cert", leaf]]))], type]))).toBe(false);
    expect(skips(objectText([['x"all_domains', ["a.net"]], ["my_all_domains", ["a.net"]], type]))).toBe(
      false,
    );
  });

  it("finds the leaf's names where they were before, and anywhere else", () => {
    const text = ordinary.text;
    const message = (chainNames: string[][], leaf: string[]) =>
      Buffer.from(goMessage({ names: leaf, text, chainNames }, "full"));
    // More lengths of chains than are remembered, each of them often.
    const chains = Array.from({ length: 24 }, (_, i) => [["R11"], Array(20 * i).fill("filling.example")]);
    for (const leaf of [["a.net"], ["a.net", "www.example.org"], ["a.net", "é.net"]]) {
      for (let round = 0; round < 3; round += 1) {
        for (const chain of chains)
          expect(prefilter.canSkip(message(chain, leaf), table)).toBe(leaf.length === 1);
      }
    }
  });

  it("is not led astray where the leaf's names were before by names of the chain, or by text", () => {
    const chainOf = (length: number) => [Array(length).fill("filling.example"), ["R11"]];
    const before = Buffer.from(goMessage({ names: ["a.net"], text: "", chainNames: chainOf(40) }, "full"));
    const leafAt = before.lastIndexOf('"all_domains"');
    expect(prefilter.canSkip(before, table)).toBe(true);
    // The names of a chain, or a text, come to stand at the very place, in a message of which the leaf is covered.
    for (const fake of ['"all_domains":["a.net"]', '"leaf_cert":{"all_domains":["a.net"]', "filling"]) {
      for (let shift = 0; shift < 120; shift += 1) {
        const text = "x".repeat(shift) + fake;
        for (const length of [36, 37, 38, 39, 40, 41]) {
          const message = goMessage({ names: ["example.org"], text, chainNames: chainOf(length) }, "full");
          expect(message.length).toBeGreaterThan(leafAt);
          expect(skips(message)).toBe(false);
        }
      }
    }
  });

  it("never skips what the parser and the naive matcher would report", async () => {
    const text = fc.oneof(
      fc.constantFrom(
        '"all_domains":["a.net"]',
        '","leaf_cert":{"all_domains":["a.net"],"',
        ',"all_domains',
        "]\\",
        "",
      ),
      fc.string({ unit: "binary" }),
    );
    const parts = fc.record({
      names: fc.array(arbitraryName, { maxLength: 4 }),
      text,
      chainNames: fc.array(fc.array(arbitraryName, { maxLength: 2 }), { maxLength: 2 }),
    });
    const edit: fc.Arbitrary<ByteEdit> = fc.record({
      kind: fc.constantFrom(
        "flip",
        "insert",
        "delete",
        "repeat",
        "truncate",
        "upper",
        "escape",
        "pretty",
        "duplicate",
      ),
      at: fc.nat(),
      near: fc.constantFrom("names", "anywhere"),
      length: fc.nat(12),
      token: fc.constantFrom(
        ...['"', "\\", ".", "]", "[", ",", " ", "\t", "é", '""', '","', "\\u002e", "*."],
      ),
      names: fc.array(arbitraryName, { maxLength: 2 }),
    });
    const seen = { editedHits: 0, skipped: 0 };
    const property = fc.asyncProperty(
      fc.constantFrom(...servers),
      parts,
      fc.array(edit, { maxLength: 2 }),
      arbitraryEntries,
      async ([, write], message, edits, entries) => {
        const bytes = edits.reduce(edited, Buffer.from(write(message)));
        const isSkipped = prefilter.canSkip(bytes, (await buildWatchList(entries)).watchList.table);
        const hit = isHit(bytes, entries);
        seen.editedHits += Number(hit && edits.length > 0);
        seen.skipped += Number(isSkipped);
        expect(hit && isSkipped && !hasSecondNames(bytes)).toBe(false);
      },
    );
    await fc.assert(property, { numRuns: 10_000 });
    expect(seen.editedHits).toBeGreaterThan(200);
    expect(seen.skipped).toBeGreaterThan(1_000);
  }, 120_000);
});
