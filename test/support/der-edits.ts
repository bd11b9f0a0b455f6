import fc from "fast-check";

/** One thing done to the bytes of a certificate; `at` is taken modulo what there is. */
export interface DerEdit {
  kind: "flip" | "set" | "insert" | "delete" | "repeat" | "truncate";
  at: number;
  /** Octets deleted or repeated. */
  length: number;
  value: number;
}

/** Octets that mean something to a reader of DER: tags, long and indefinite lengths, padding. */
const meaningful = [
  0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x1f, 0x30, 0x31, 0x7f, 0x80, 0x81, 0x82, 0x84,
].concat([0x88, 0xa0, 0xa1, 0xa3, 0xbf, 0xff]);

export const derEdits: fc.Arbitrary<DerEdit[]> = fc.array(
  fc.record({
    kind: fc.constantFrom("flip", "set", "set", "insert", "delete", "repeat", "truncate"),
    at: fc.nat(0xffff),
    length: fc.integer({ min: 1, max: 40 }),
    value: fc.oneof(fc.constantFrom(...meaningful), fc.nat(255)),
  }),
  { minLength: 1, maxLength: 3 },
);

/** The bytes with the edits applied, one after the other. */
export const editedDer = (bytes: Uint8Array, edits: DerEdit[]): Uint8Array =>
  edits.reduce((edited, edit) => applied(edited, edit), bytes);

function applied(bytes: Uint8Array, { kind, at: anywhere, length, value }: DerEdit): Uint8Array {
  const at = anywhere % (bytes.length + 1);
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
  switch (kind) {
    case "flip":
      return Buffer.concat([before, octet((after[0] ?? 0) ^ (1 << (value % 8))), after.subarray(1)]);
    case "set":
      return Buffer.concat([before, octet(value), after.subarray(1)]);
    case "insert":
      return Buffer.concat([before, octet(value), after]);
    case "delete":
      return Buffer.concat([before, after.subarray(length)]);
    case "repeat":
      return Buffer.concat([before, after.subarray(0, length), after]);
    case "truncate":
      return before;
  }
}

const octet = (value: number) => Buffer.from([value]);
