import { describe, expect, test } from "vitest";
import {
  copyInTextMessage,
  MessageReader,
  query,
  syncMessage,
  type Unit,
  withoutFirstMessage,
} from "../../../src/db/embedded/wire.ts";

/** A message without a type, as clients begin with: length, code, rest. */
function opening(code: number, rest = ""): Buffer {
  const head = Buffer.alloc(8);
  head.writeInt32BE(8 + Buffer.byteLength(rest), 0);
  head.writeInt32BE(code, 4);
  return Buffer.concat([head, Buffer.from(rest)]);
}

/** A message of one type with a body of some bytes. */
const of = (type: string, bytes: number) => Buffer.concat([Buffer.from(type), sized(bytes)]);
function sized(bytes: number): Buffer {
  const body = Buffer.alloc(4 + bytes);
  body.writeInt32BE(4 + bytes, 0);
  return body;
}

const STARTUP = opening(196608, "user\0postgres\0\0");
const read = (chunks: Buffer[]): Unit[] => {
  const reader = new MessageReader();
  return chunks.flatMap((chunk) => [...reader.push(chunk)]);
};

describe("MessageReader", () => {
  const batch = Buffer.concat([of("P", 100_000), of("B", 9), of("D", 2), of("E", 5), syncMessage]);
  const copy = Buffer.concat([query("COPY t FROM STDIN"), of("d", 3), of("d", 4), of("c", 0)]);
  const dialogue = [
    opening(80877103),
    STARTUP,
    batch,
    of("P", 9),
    of("H", 0),
    syncMessage,
    copy,
    query("SELECT 1"),
    of("X", 0),
  ];
  const expected = [
    { kind: "decline-tls", bytes: Buffer.alloc(0) },
    { kind: "work", bytes: STARTUP },
    { kind: "work", bytes: batch },
    { kind: "flush", bytes: Buffer.concat([of("P", 9), of("H", 0)]) },
    { kind: "work", bytes: syncMessage },
    { kind: "copy-begins", bytes: Buffer.alloc(0) },
    { kind: "copy", bytes: copy },
    { kind: "work", bytes: query("SELECT 1") },
    { kind: "goodbye", bytes: Buffer.alloc(0) },
  ];

  test("cuts a dialogue into units, however it arrives", () => {
    const all = Buffer.concat(dialogue);
    expect(read([all])).toEqual(expected);
    for (const size of [1, 7, 4096, 65_536]) {
      const chunks = Array.from({ length: Math.ceil(all.length / size) }, (_, n) =>
        all.subarray(n * size, (n + 1) * size),
      );
      expect(read(chunks)).toEqual(expected);
    }
  });

  test.each([
    ["another protocol", [opening(131072)]],
    ["an opening over the limit", [opening(196608, "x".repeat(10_000))]],
    ["a length below the smallest", [STARTUP, Buffer.from([0x51, 0, 0, 0, 3])]],
    ["a negative length", [STARTUP, Buffer.from([0x51, 0xff, 0xff, 0xff, 0xff])]],
    ["a message over the limit, from its first bytes", [STARTUP, Buffer.from([0x51, 0x10, 0, 0, 0])]],
    [
      "COPY FROM STDIN in the extended protocol",
      [STARTUP, Buffer.concat([Buffer.from("P"), sized(0)]), copyParse()],
    ],
  ])("refuses %s", (_, chunks) => {
    expect(() => read(chunks)).toThrow();
  });

  test("takes an opening of the largest size", () => {
    expect(read([opening(196608, "x".repeat(9_992))])).toHaveLength(1);
  });
});

test("withoutFirstMessage takes out one message", () => {
  const messages = Buffer.concat([syncMessage, copyInTextMessage, copyInTextMessage]);
  expect(withoutFirstMessage(messages, "G")).toEqual(Buffer.concat([syncMessage, copyInTextMessage]));
  expect(withoutFirstMessage(syncMessage, "G")).toEqual(syncMessage);
});

function copyParse(): Buffer {
  const parse = Buffer.from(query("\0copy t from stdin\0\0"));
  parse.write("P", 0);
  return parse;
}
