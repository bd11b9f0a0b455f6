import { describe, expect, it } from "vitest";
import { buildWatchList, matchNames, type WatchList } from "../../src/watchlist/matcher.ts";

const numbered = (count: number, name: (i: number) => string) =>
  Array.from({ length: count }, (_, i) => name(i));
const watch = async (...entries: string[]): Promise<WatchList> => (await buildWatchList(entries)).watchList;

const siblings = await watch(
  ...numbered(1_001, (i) => `c${i}.hosting.example`),
  ...numbered(1_000, (i) => `d${i}.small.example`),
  ...numbered(20_000, (i) => `e${i}.zone${i % 20}.example`),
  ...numbered(12_000, (i) => `customer${i}.test`),
);

describe("matchNames", () => {
  it("finds nothing in names that nothing covers", () => {
    expect(matchNames([], siblings)).toBeNull();
    expect(matchNames(["example.com", "", "*"], siblings)).toBeNull();
  });

  it("lists entries and SANs sorted, each once, the SANs as the certificate has them", async () => {
    const list = await watch("example.org", "www.example.org", "b.example");
    expect(
      matchNames(["b.Example", "x.com", "a.www.example.org", "b.Example", "*.example.org"], list),
    ).toEqual({
      entries: ["b.example", "example.org", "www.example.org"],
      sans: ["*.example.org", "a.www.example.org", "b.Example"],
      namesTruncated: 0,
    });
  });

  it("lists every entry of a wildcard that covers 1,000, and says how many more a larger one covers", () => {
    expect(matchNames(["*.small.example"], siblings)).toMatchObject({ namesTruncated: 0 });
    expect(matchNames(["*.small.example"], siblings)!.entries).toHaveLength(1_000);
    const match = matchNames(["*.hosting.example"], siblings)!;
    expect(match.entries).toHaveLength(1_000);
    expect(match).toMatchObject({ sans: ["*.hosting.example"], namesTruncated: 1 });
  });

  it("counts an entry once that a wildcard and a name of its own cover", () => {
    for (const own of ["c0.hosting.example", "www.c1000.hosting.example"]) {
      const match = matchNames(["*.hosting.example", own], siblings)!;
      expect(match.entries.length + match.namesTruncated).toBe(1_001);
      expect(match.entries).toContain(own.replace("www.", ""));
    }
  });

  it("counts a wildcard once, however often and however it is written", () => {
    const written = [
      "*.hosting.example",
      "*.HOSTING.example",
      "http://*.hosting.example/",
      "*.hosting.example.",
    ];
    const match = matchNames([...written, ...Array(300).fill("*.hosting.example")], siblings)!;
    expect(match.entries).toHaveLength(1_000);
    expect(match).toMatchObject({ sans: written.sort(), namesTruncated: 1 });
  });

  it("lists at most 10,000 entries, those with a name of their own first", () => {
    const wildcards = numbered(20, (i) => `*.zone${i}.example`);
    const match = matchNames([...wildcards, ...numbered(500, (i) => `customer${i}.test`)], siblings)!;
    expect(match.entries).toHaveLength(10_000);
    expect(match.entries.filter((entry) => entry.endsWith(".test"))).toHaveLength(500);
    expect(match.namesTruncated).toBe(20_500 - 10_000);
    const own = matchNames(
      numbered(12_000, (i) => `customer${i}.test`),
      siblings,
    )!;
    expect([own.entries.length, own.sans.length, own.namesTruncated]).toEqual([10_000, 10_000, 4_000]);
  });

  it("lists all SANs of a large honest certificate", () => {
    const names = numbered(2_000, (i) => `host-${i}.a-rather-long-label-for-a-tenant.customer7.test`);
    expect(matchNames(names, siblings)).toEqual({
      entries: ["customer7.test"],
      sans: names.sort(),
      namesTruncated: 0,
    });
  });

  it.each([
    ["number", (i: number) => `n${i}.n.customer7.test`],
    ["characters", (i: number) => `${"n".repeat(200)}${i}.n.customer7.test`],
  ])("keeps the most telling SANs if there are too many by their %s", (_, decoy) => {
    const telling = ["customer7.test", "*.b.customer7.test", "*.a.b.customer7.test", "ab.customer7.test"];
    const match = matchNames([...numbered(11_000, decoy), ...telling], siblings)!;
    expect(match.sans).toEqual(expect.arrayContaining(telling));
    expect(match.sans.length + match.namesTruncated).toBe(11_004);
    expect(match.sans.length).toBeLessThanOrEqual(10_000);
    expect(match.sans.join("").length).toBeLessThanOrEqual(256 * 1024);
  });

  it("lists the end of a SAN that is longer than any name, and the SAN for certain if it is the only one", () => {
    const long = `${"a.".repeat(1_000_000)}customer7.test`;
    const match = matchNames([long], siblings)!;
    expect(match).toEqual({ entries: ["customer7.test"], sans: [long.slice(-1_000)], namesTruncated: 0 });
  });
});
