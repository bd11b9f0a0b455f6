import { describe, expect, test } from "vitest";
import * as der from "../../src/demo/der.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

describe("DER", () => {
  test.each([
    ["", "020100"],
    ["00", "020100"],
    ["0000", "020100"],
    ["7f", "02017f"],
    ["80", "02020080"],
    ["0080", "02020080"],
    ["00000a0b", "02020a0b"],
    ["ff01", "020300ff01"],
  ])("INTEGER of octets %s", (octets, expected) => {
    expect(hex(der.unsignedInteger(Buffer.from(octets, "hex")))).toBe(expected);
  });

  test.each([
    [0x7f, "047f"],
    [0x80, "048180"],
    [0xff, "0481ff"],
    [0x100, "04820100"],
    [0x10000, "0483010000"],
  ])("length %i", (length, expected) => {
    const element = der.octetString(Buffer.alloc(length));
    expect(hex(element.subarray(0, element.length - length))).toBe(expected);
  });

  test.each([
    ["2.5.29.17", "0603551d11"],
    ["1.2.840.10045.4.3.2", "06082a8648ce3d040302"],
    ["1.3.6.1.4.1.11129.2.4.3", "060a2b06010401d679020403"],
  ])("OBJECT IDENTIFIER %s", (dotted, expected) => {
    expect(hex(der.objectIdentifier(dotted))).toBe(expected);
  });

  test.each([
    ["2049-12-31T23:59:59Z", 0x17, "491231235959Z"],
    ["2050-01-01T00:00:00Z", 0x18, "20500101000000Z"],
    ["1950-01-01T00:00:00Z", 0x17, "500101000000Z"],
    ["1949-12-31T23:59:59Z", 0x18, "19491231235959Z"],
  ])("time %s", (iso, tag, text) => {
    const element = der.time(Date.parse(iso) / 1000);
    expect([element[0], element.subarray(2).toString()]).toEqual([tag, text]);
  });

  test("named bits drop trailing zero bits", () => {
    expect(hex(der.namedBits(0))).toBe("03020780");
    expect(hex(der.namedBits(5, 6))).toBe("03020106");
  });
});
