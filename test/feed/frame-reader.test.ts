import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { AddressInfo, TcpNetConnectOpts } from "node:net";
import { createServer, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import WebSocket from "ws";
import { FrameReader } from "../../src/feed/frame-reader.ts";
import { createPrivateCa } from "../support/private-ca.ts";

/** A frame as a server may send it: opcode 0 to 15, header as RFC 6455 section 5.2 has it. */
function frame(opcode: number, payload: Buffer, { fin = true, rsv = 0, masked = false } = {}): Buffer {
  const first = (fin ? 0x80 : 0) | rsv | opcode;
  const mask = masked ? 0x80 : 0;
  const key = Buffer.alloc(masked ? 4 : 0);
  if (payload.length < 126) return Buffer.concat([Buffer.from([first, mask | payload.length]), key, payload]);
  const isShort = payload.length < 65_536;
  const header = Buffer.alloc(isShort ? 4 : 10);
  header[0] = first;
  header[1] = mask | (isShort ? 126 : 127);
  if (isShort) header.writeUInt16BE(payload.length, 2);
  else header.writeBigUInt64BE(BigInt(payload.length), 2);
  return Buffer.concat([header, key, payload]);
}

const [text, binary, continuation, close, ping] = [1, 2, 0, 8, 9];
const closers: (() => void)[] = [];
afterEach(() => {
  for (const end of closers.splice(0)) end();
});

interface Received {
  messages: string[];
  pings: string[];
  /** How the connection ended: the code of the Close frame, or of the error. */
  ending: string;
}

/**
 * Reads what a server writes after its answer, in pieces that end at `cuts` (of the whole, answer included), until the
 * server closes or `ws` objects.
 */
async function read(
  frames: Buffer,
  {
    cuts = [] as number[],
    maxMessageBytes = 1024 * 1024,
    tls = null as null | { key: Buffer; cert: Buffer },
    host = "127.0.0.1",
    answer = "",
  } = {},
): Promise<Received> {
  const serve = async (socket: Socket) => {
    socket.on("error", () => {});
    socket.setNoDelay();
    const [request] = await once(socket, "data");
    const key = /Sec-WebSocket-Key: (.*)\r\n/i.exec(request.toString())![1];
    const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    const head = Buffer.from(
      answer ||
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    const whole = Buffer.concat([head, frames]);
    let from = 0;
    for (const cut of [...cuts.map((each) => each % whole.length).sort((a, b) => a - b), whole.length]) {
      socket.write(whole.subarray(from, cut));
      from = cut;
      await new Promise((resolve) => setImmediate(resolve));
    }
    socket.end();
  };
  const server = tls === null ? createServer(serve) : createTlsServer(tls, serve);
  server.listen(0, host === "localhost" ? "127.0.0.1" : host);
  await once(server, "listening");
  closers.push(() => server.close());
  const { port } = server.address() as AddressInfo;

  const messages: string[] = [];
  const pings: string[] = [];
  const onMessage = (message: Buffer) => {
    messages.push(message.toString("latin1"));
  };
  const reader = new FrameReader({ maxMessageBytes, onMessage });
  const socket = new WebSocket(`${tls === null ? "ws" : "wss"}://${host}:${port}/`, {
    perMessageDeflate: false,
    maxPayload: maxMessageBytes,
    skipUTF8Validation: true,
    rejectUnauthorized: false,
    createConnection: ((options: TcpNetConnectOpts) => reader.connect(options, tls !== null)) as never,
  });
  let failure: string | null = null;
  socket.on("open", () => reader.open());
  socket.on("message", (message) => onMessage(message as Buffer));
  socket.on("ping", (payload) => pings.push(payload.toString("latin1")));
  socket.on("error", (error: NodeJS.ErrnoException) => {
    failure = error.code ?? error.message;
  });
  const code = await new Promise((resolve) => socket.on("close", resolve));
  return { messages, pings, ending: failure ?? String(code) };
}

const closing = frame(close!, Buffer.from([0x03, 0xe8]));

describe("a frame reader", () => {
  const arbitraryPayload = fc
    .oneof(
      { weight: 8, arbitrary: fc.nat(300) },
      { weight: 3, arbitrary: fc.nat(70_000) },
      { weight: 1, arbitrary: fc.constantFrom(131_058, 131_062, 131_063, 140_000) },
    )
    .chain((length) => fc.nat(255).map((byte) => Buffer.alloc(length, byte)));
  const arbitraryPart = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant("whole" as const),
        payloads: fc.tuple(arbitraryPayload),
        isText: fc.boolean(),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant("fragments" as const),
        payloads: fc.array(arbitraryPayload, { minLength: 2, maxLength: 4 }),
        isText: fc.boolean(),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant("ping" as const),
        payloads: fc.tuple(
          fc.string({ maxLength: 100, unit: "grapheme-ascii" }).map((each) => Buffer.from(each)),
        ),
        isText: fc.boolean(),
      }),
    },
  );

  it("brings every message and every ping once, however the stream is cut", async () => {
    const property = fc.asyncProperty(
      fc.array(arbitraryPart, { maxLength: 12 }),
      fc.array(fc.nat(), { maxLength: 12 }),
      fc.array(fc.nat(400), { maxLength: 4 }),
      async (parts, cuts, earlyCuts) => {
        const frames = parts.flatMap(({ kind, payloads, isText }) => {
          const opcode = isText ? text! : binary!;
          if (kind === "ping") return [frame(ping!, payloads[0]!)];
          if (kind === "whole") return [frame(opcode, payloads[0]!)];
          return payloads.flatMap((payload, i) => [
            frame(i === 0 ? opcode : continuation!, payload, { fin: i === payloads.length - 1 }),
            ...(i === 0 ? [frame(ping!, Buffer.from("between"))] : []),
          ]);
        });
        const { messages, pings, ending } = await read(Buffer.concat([...frames, closing]), {
          cuts: [...cuts, ...earlyCuts],
        });
        const expected = parts
          .filter(({ kind }) => kind !== "ping")
          .map(({ payloads }) => Buffer.concat(payloads).toString("latin1"));
        expect(ending).toBe("1000");
        // Those that go through `ws` may come a turn later than their neighbours.
        expect([...messages].sort()).toEqual(expected.sort());
        expect(pings.sort()).toEqual(
          parts
            .filter(({ kind }) => kind !== "whole")
            .map(({ kind, payloads }) => (kind === "ping" ? payloads[0]!.toString("latin1") : "between"))
            .sort(),
        );
      },
    );
    await fc.assert(property, { numRuns: 150 });
  }, 120_000);

  it("leaves a message over the limit to ws, which refuses it, and takes one at the limit", async () => {
    const at = frame(text!, Buffer.alloc(1_000, "a"));
    const over = frame(text!, Buffer.alloc(1_001, "b"));
    const { messages, ending } = await read(Buffer.concat([at, over, at]), { maxMessageBytes: 1_000 });
    expect(messages[0]).toHaveLength(1_000);
    expect(messages.join("")).not.toContain("b");
    expect(ending).toBe("WS_ERR_UNSUPPORTED_MESSAGE_LENGTH");
  });

  it.each([
    ["a reserved bit", frame(text!, Buffer.from("x"), { rsv: 0x40 })],
    ["a mask", frame(text!, Buffer.from("x"), { masked: true })],
    ["an unknown opcode", frame(3, Buffer.from("x"))],
    ["a continuation of nothing", frame(continuation!, Buffer.from("x"))],
    [
      "a message within a fragmented one",
      Buffer.concat([frame(text!, Buffer.from("x"), { fin: false }), frame(text!, Buffer.from("y"))]),
    ],
    ["an endless length", Buffer.from([0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])],
  ])("leaves %s to ws, which breaks the connection off", async (_, bytes) => {
    const { messages, ending } = await read(Buffer.concat([frame(text!, Buffer.from("before")), bytes]));
    expect(messages).toEqual(["before"]);
    expect(ending).toMatch(/^WS_ERR_/);
  });

  it("takes nothing that comes after a Close frame", async () => {
    const { messages, ending } = await read(Buffer.concat([closing, frame(text!, Buffer.from("late"))]));
    expect({ messages, ending }).toEqual({ messages: [], ending: "1000" });
  });

  it.each([
    ["a refusal", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "Unexpected server response: 403"],
    [
      "a wrong key",
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
      "Invalid Sec-WebSocket-Accept header",
    ],
    ["no answer", " ", /./],
    ["an endless head", `HTTP/1.1 101 Switching Protocols\r\nX: ${"x".repeat(200_000)}`, /too long/],
  ])("lets ws fail on %s", async (_, answer, expected) => {
    const { messages, ending } = await read(frame(text!, Buffer.from("x")), { answer });
    expect(messages).toEqual([]);
    expect(ending).toEqual(typeof expected === "string" ? expected : expect.stringMatching(expected));
  });

  it("finds the one address of a name that listens", async () => {
    expect(
      (await read(Buffer.concat([frame(text!, Buffer.from("x")), closing]), { host: "localhost" })).messages,
    ).toEqual(["x"]);
  });

  it("reads over TLS", async () => {
    const ca = createPrivateCa();
    const tls = { key: readFileSync(ca.file("server.key")), cert: readFileSync(ca.file("server.crt")) };
    await ca.remove();
    const payloads = [10, 70_000, 140_000, 9_000].map((length) => Buffer.alloc(length, "a"));
    const { messages, ending } = await read(
      Buffer.concat([...payloads.map((payload) => frame(text!, payload)), closing]),
      { tls },
    );
    expect(messages.map(({ length }) => length).sort()).toEqual(payloads.map(({ length }) => length).sort());
    expect(ending).toBe("1000");
  });
});
