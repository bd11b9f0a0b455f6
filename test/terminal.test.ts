import fc from "fast-check";
import { expect, test } from "vitest";
import { formatTable, formatTime, jsonLine, printable } from "../src/terminal.ts";

/** C0 and C1 controls, bidi marks, line separators. */
function isDangerous(text: string): boolean {
  const ranges = [
    [0, 0x1f],
    [0x7f, 0x9f],
    [0x200e, 0x200f],
    [0x2028, 0x202e],
    [0x2066, 0x2069],
  ] as const;
  return [...text].some((c) =>
    ranges.some(([from, to]) => c.codePointAt(0)! >= from && c.codePointAt(0)! <= to),
  );
}

test("what a terminal would act on is written out", () => {
  expect(printable("a\u001b[31mb\u009b2Jc\u202ed\r\n")).toBe("a\\u001b[31mb\\u009b2Jc\\u202ed\\u000d\\u000a");
  expect(printable("bücher.例え \u{e0041}")).toBe("bücher.例え \\udb40\\udc41");
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => !isDangerous(printable(text))));
});

test("a line of JSON holds nothing of it either, and says the same", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string({ unit: "binary" }), fc.string({ unit: "binary" })), (value) => {
      const line = jsonLine(value);
      expect(isDangerous(line)).toBe(false);
      expect(JSON.parse(line)).toEqual(JSON.parse(JSON.stringify(value)));
    }),
  );
});

test("a table fits the terminal; the last column gets what is left", () => {
  const columns = [{ title: "ID" }, { title: "NAMES", maxWidth: 10 }, { title: "REASON" }];
  const rows = [
    ["1", "a.example.org", "x".repeat(40)],
    ["22", "b\u001b", "short"],
  ];
  expect(formatTable(columns, rows, 40).split("\n")).toEqual([
    "ID  NAMES       REASON",
    `1   a.example…  ${"x".repeat(23)}…`,
    "22  b\\u001b     short",
  ]);
  expect(formatTable(columns, rows, Number.POSITIVE_INFINITY).split("\n")[1]).toBe(
    `1   a.example.org  ${"x".repeat(40)}`,
  );
});

test("a time that no calendar has is shown as the number", () => {
  expect(formatTime(1_761_918_776)).toBe("2025-10-31 13:52");
  expect(formatTime(1e15)).toBe("1000000000000000");
});
