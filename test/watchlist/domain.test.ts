import { describe, expect, it } from "vitest";
import {
  conversionBudget,
  namesIn,
  normalName,
  parseWatchEntry,
  withALabels,
} from "../../src/watchlist/domain.ts";

const longName = (label: string) => `${label}.`.repeat(50_000);
const hostile = {
  "lone surrogates": "\ud800.\udfff.example",
  NUL: "\0.\0.example",
  "property names": "constructor.__proto__.toString",
  "100,000 characters": "a".repeat(100_000),
  // All different: that is what makes Punycode slow.
  "40,000 ideographs": Array.from({ length: 40_000 }, (_, i) => String.fromCodePoint(0x20000 + i)).join(""),
  "50,000 labels": longName("a"),
  "50,000 non-ASCII labels": longName("é"),
  "100,000 dots": `${".".repeat(100_000)}x`,
  "100,000 white spaces": `${" ".repeat(100_000)}x${" ".repeat(100_000)}x`,
};

describe("parseWatchEntry", () => {
  it.each([
    ["example.org", "example.org"],
    ["  Example.ORG \n", "example.org"],
    ["example.org..", "example.org"],
    ["*.example.org", "example.org"],
    ["*.example.org.", "example.org"],
    ["_dmarc.example-1.org", "_dmarc.example-1.org"],
    ["bücher.example", "xn--bcher-kva.example"],
    ["BÜCHER.example", "xn--bcher-kva.example"],
    ["bücher。example．", "xn--bcher-kva.example"],
    ["*.bücher.example", "xn--bcher-kva.example"],
    ["ΒΌΛΟΣ.gr", "xn--nxasmq6b.gr"],
    ["1.2.3", "1.2.3"],
    ["1.2.3.bücher", "1.2.3.xn--bcher-kva"],
    ["１.bücher", "1.xn--bcher-kva"],
    ["0x7f.bücher", "0x7f.xn--bcher-kva"],
    ["xn--a.example", "xn--a.example"],
    ["constructor.__proto__", "constructor.__proto__"],
  ])("reads %j as %j", (raw, entry) => {
    expect(parseWatchEntry(raw)).toEqual({ entry });
  });

  it.each([
    ["", "is empty"],
    [" .. ", "is empty"],
    ["org", "has only one label"],
    ["*.org", "has only one label"],
    ["*.", "has a * inside"],
    ["*.*.example.org", "has a * inside"],
    ["f*o.example.org", "has a * inside"],
    [".example.org", "has an empty label"],
    ["foo..example.org", "has an empty label"],
    ["192.0.2.1", "is an IP address"],
    ["*.192.0.2.1", "is an IP address"],
    ["１９２.0.2.1", "is an IP address"],
    ["2001:db8::1", "is an IP address"],
    ["[2001:db8::1]", "is an IP address"],
    ["\ud800.example", "has a label that IDNA refuses"],
    ["bü/cher.example", "has a character other than letters, digits, hyphen, underscore and dot"],
    [`${"é".repeat(64)}.example`, "has a label that IDNA refuses"],
    ["https://example.org", "has a character other than letters, digits, hyphen, underscore and dot"],
    ["exa mple.org", "has a character other than letters, digits, hyphen, underscore and dot"],
  ])("refuses %j: %s", (raw, problem) => {
    expect(parseWatchEntry(raw)).toEqual({ problem });
  });

  it.each(Object.entries(hostile))(
    "survives %s",
    (_, raw) => {
      expect(Object.keys(parseWatchEntry(raw))).toHaveLength(1);
    },
    2_000,
  );
});

describe("normalName", () => {
  it.each([
    ["Foo.Example.org", "foo.example.org"],
    [" *.Example.org. ", "*.example.org"],
    ["\ud800B.BÜCHER.example", "\ud800b.xn--bcher-kva.example"],
    ["https://Example.org/", "https://example.org/"],
  ])("of %j is %j", (raw, name) => {
    expect(normalName(raw)).toBe(name);
  });

  it("converts labels as long as DNS has them, and no longer ones", () => {
    const [longest, tooLong] = ["é".repeat(63), "é".repeat(64)];
    expect(normalName(`${longest}.example`)).toMatch(/^xn--.*\.example$/);
    expect(normalName(`${tooLong}.é.example`)).toBe(`${tooLong}.xn--9ca.example`);
  });
});

describe("namesIn", () => {
  it.each([
    ["Foo.Example.org", ["foo.example.org"]],
    ["*.Example.org.", ["*.example.org"]],
    ["f*o.*.example.org", ["f*o.*.example.org"]],
    ["bücher.example", ["xn--bcher-kva.example"]],
    ["https://Example.org", ["https", "example.org"]],
    ["ldap://u:p@*.example.org:389/x?y#z", ["ldap", "u", "p", "*.example.org", "389", "x", "y", "z"]],
    ["admin@example.org", ["admin", "example.org"]],
    ["example.org.\0evil.com", ["example.org", "evil.com"]],
    ["example.org\u3000b\u0085c", ["example.org", "b", "c"]],
    ["a.example.org, DNS:b.example;c", ["a.example.org", "dns", "b.example", "c"]],
    ['"example.org"', ["example.org"]],
    ["http://bücher.example\\", ["http", "xn--bcher-kva.example"]],
    ["www.\u202eexample.org", ["www", "example.org"]],
    ["ex\u00adam\ufeffple.org", ["example.org"]],
    ["\0. ,", []],
  ])("%j are %j", (san, names) => {
    expect(namesIn(san)).toEqual(names);
  });

  it.each(Object.entries(hostile))(
    "survives %s",
    (_, san) => {
      expect(namesIn(san).length).toBeLessThanOrEqual(2);
    },
    2_000,
  );
});

describe("withALabels", () => {
  it("converts the Unicode names of a large certificate, and stops when the budget is used up", () => {
    const budget = conversionBudget();
    for (let i = 0; i < 2_000; i += 1) {
      expect(withALabels(`bücher${i}.für-alle.example`, budget)).toMatch(/^xn--bcher.*\.xn--fr-alle/);
    }
    for (let i = 0; i < 200_000; i += 1) withALabels(`é${i}.example`, budget);
    expect(withALabels("é.example", budget)).toBe("é.example");
  });
});
