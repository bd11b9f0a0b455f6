import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { buildWatchList } from "../../src/watchlist/matcher.ts";
import { arbitraryEntries, arbitraryName } from "../support/arbitrary-names.ts";
import { naiveEntry, naiveMatch } from "../support/naive-matcher.ts";

async function matches(entries: string[], san: string): Promise<string[]> {
  const { watchList } = await buildWatchList(entries);
  return watchList.match(san).sort();
}

describe("match", () => {
  it.each([
    ["example.org", ["example.org"]],
    ["EXAMPLE.org.", ["example.org"]],
    ["a.b.example.org", ["example.org"]],
    ["*.example.org", ["example.org", "foo.example.org"]],
    ["*.foo.example.org", ["a.foo.example.org", "example.org", "foo.example.org"]],
    ["*.bar.example.org", ["example.org"]],
    ["*.org", ["example.org"]],
    ["x.a.foo.example.org", ["a.foo.example.org", "example.org", "foo.example.org"]],
    ["example.org.evil.com", []],
    ["notexample.org", []],
    ["org", []],
    ["*", []],
    ["", []],
    ["http://example.org/", ["example.org"]],
    ["LDAP://u:p@Example.org:389/x", ["example.org"]],
    ["https://*.example.org/", ["example.org", "foo.example.org"]],
    ["a.com,*.foo.example.org;b.com", ["a.foo.example.org", "example.org", "foo.example.org"]],
    ["example.org\0.evil.com", ["example.org"]],
    ["example.org..:443", ["example.org"]],
    ["evil.com:443.example.org.evil.com", []],
    ["\ud800.example.org", ["example.org"]],
    ["foo.*.example.org", ["example.org"]],
    [".example.org", ["example.org"]],
    ["example.org\u3200", ["example.org"]],
  ])("of the SAN %j: %j", async (san, covered) => {
    expect(await matches(["example.org", "foo.example.org", "a.foo.example.org"], san)).toEqual(covered);
  });

  it("is what the rules say, entry by entry", async () => {
    const property = fc.asyncProperty(arbitraryEntries, fc.array(arbitraryName), async (entries, sans) => {
      const { watchList } = await buildWatchList(entries);
      for (const san of sans) expect(watchList.match(san).sort()).toEqual(naiveMatch(entries, san));
    });
    await fc.assert(property, { numRuns: 2_000 });
  });

  it("holds for arbitrary text and the names made from it", async () => {
    const property = fc.asyncProperty(fc.string({ unit: "binary" }), arbitraryName, async (text, name) => {
      const { watchList } = await buildWatchList([name, `${text}.example`]);
      for (const san of [text, `${text}.${name}`, `${name}${text}`, `*.${text}`]) {
        expect(watchList.match(san).sort()).toEqual(naiveMatch([name, `${text}.example`], san));
      }
    });
    await fc.assert(property, { numRuns: 1_000 });
  });

  it.each([
    ["\ud800".repeat(100_000), 0],
    [`${"constructor.__proto__.".repeat(10_000)}example.org`, 1],
    [`${"é.".repeat(50_000)}example.org`, 1],
    [`http://${"é.".repeat(50_000)}example.org/`, 1],
  ])(
    "survives a hostile SAN (%#)",
    async (san, count) => {
      expect(await matches(["example.org"], san)).toHaveLength(count);
    },
    2_000,
  );
});

describe("buildWatchList", () => {
  it("collapses duplicates", async () => {
    const { watchList, skipped } = await buildWatchList(["example.org", "*.Example.org.", "foo.example.org"]);
    expect(watchList.size).toBe(2);
    expect(skipped).toEqual({ count: 0, examples: [] });
  });

  it("makes an empty list of nothing", async () => {
    const { watchList } = await buildWatchList([]);
    expect([watchList.size, watchList.match("example.org"), watchList.match("")]).toEqual([0, [], []]);
  });

  it("counts what it skips and names the first few, cut short", async () => {
    const { watchList, skipped } = await buildWatchList([
      "x".repeat(5_000),
      ...Array(50).fill("org"),
      "a.org",
    ]);
    expect(watchList.size).toBe(1);
    expect(skipped.count).toBe(51);
    expect(skipped.examples).toHaveLength(10);
    expect(skipped.examples[0]).toEqual({ raw: "x".repeat(100), problem: "has only one label" });
  });

  it("keeps entries whose bytes outgrow the first estimate", async () => {
    const entries = Array.from({ length: 50 }, (_, i) => `${"x".repeat(10 * i)}${i}.example.org`);
    const { watchList } = await buildWatchList(entries);
    expect(watchList.match("*.example.org").sort()).toEqual(entries.sort());
  });

  it("has as many entries as the rules say", async () => {
    const property = fc.asyncProperty(arbitraryEntries, async (entries) => {
      const { watchList, skipped } = await buildWatchList(entries);
      const expected = entries.map(naiveEntry);
      expect(watchList.size).toBe(new Set(expected.filter((entry) => entry !== null)).size);
      expect(skipped.count).toBe(expected.filter((entry) => entry === null).length);
    });
    await fc.assert(property, { numRuns: 1_000 });
  });
});
