import { createHash } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { deflateRawSync } from "node:zlib";

/** What a connection gets that is not passed on: the request's head is read, nothing is written yet. */
export type Behaviour = (socket: Socket, requestHead: string) => void | Promise<void>;

const text = 1;
const binary = 2;
const continuation = 0;
const closeFrame = 8;
const ping = 9;

/** A frame as servers send it, not masked (RFC 6455 section 5.2). `bits`: FIN 0x80, RSV1 0x40. */
export function frame(
  opcode: number,
  payload: Uint8Array | string,
  bits = 0x80,
  claimedLength?: number,
): Buffer {
  const body = Buffer.from(payload as Uint8Array);
  const length = claimedLength ?? body.length;
  const header = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10);
  header[0] = bits | opcode;
  header[1] = length < 126 ? length : length < 65_536 ? 126 : 127;
  if (header.length === 4) header.writeUInt16BE(length, 2);
  if (header.length === 10) header.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([header, body]);
}

function upgradeAnswer(requestHead: string, extraHeader = ""): string {
  const key = /^sec-websocket-key: (.*)\r$/im.exec(requestHead)?.[1] ?? "";
  const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n${extraHeader}\r\n`;
}

/** After the upgrade: these bytes, and then nothing, the connection left open. */
const after =
  (...frames: Buffer[]): Behaviour =>
  (socket, head) => {
    socket.write(upgradeAnswer(head));
    for (const one of frames) socket.write(one);
  };

const answering =
  (status: string, headers = "", body = ""): Behaviour =>
  (socket) => {
    socket.end(`HTTP/1.1 ${status}\r\nContent-Length: ${body.length}\r\n${headers}\r\n${body}`);
  };

/** Writes the next piece when the last one has gone, until the connection is closed; `pauseMs` between them. */
async function pour(socket: Socket, piece: () => Uint8Array | string, pauseMs = 0): Promise<void> {
  while (!socket.destroyed) {
    if (!socket.write(piece()))
      await Promise.race([once(socket, "drain"), once(socket, "close")]).catch(() => {});
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

/** What a misbehaving feed does, and what certwatch is to say of it. */
export interface Misbehaviour {
  behave: Behaviour;
  /** The reason in the log. */
  reason: RegExp;
}

const bomb = deflateRawSync(Buffer.alloc(100 * 2 ** 20, "a"));
const mebibyte = Buffer.alloc(2 ** 20, "a");
const tooLarge = /larger than FEED_MAX_MESSAGE_BYTES/;
const idle = /no message for/;

/** @param good a message that is to be delivered, for those that send one in an odd way. */
export const misbehaviours = (good: string): Record<string, Misbehaviour> => ({
  "closing at once": {
    behave: after(frame(closeFrame, Buffer.from([0x03, 0xe8]))),
    reason: /closed \(code 1000\)/,
  },
  "closing with 1008 and a reason": {
    behave: after(
      frame(closeFrame, Buffer.concat([Buffer.from([0x03, 0xf0]), Buffer.from("too slow\u001b[31m")])),
    ),
    reason: /code 1008: too slow/,
  },
  "closing with a code that does not exist": {
    behave: after(frame(closeFrame, Buffer.from([0x00, 0x01]))),
    reason: /status code/i,
  },
  "ending without a Close frame": {
    behave: (socket, head) => void socket.end(upgradeAnswer(head)),
    reason: /code 1006/,
  },
  resetting: {
    behave: (socket, head) =>
      void socket.write(upgradeAnswer(head), () => setTimeout(() => socket.resetAndDestroy(), 50)),
    reason: /ECONNRESET|code 1006/,
  },
  "closing in the middle of a message": {
    behave: (socket, head) =>
      void socket.end(Buffer.concat([Buffer.from(upgradeAnswer(head)), frame(text, good).subarray(0, 300)])),
    reason: /code 1006/,
  },
  "silent after the upgrade": { behave: after(), reason: idle },
  "pings only": {
    behave: async (socket, head) => {
      socket.write(upgradeAnswer(head));
      await pour(socket, () => frame(ping, "alive"), 50);
    },
    reason: idle,
  },
  "a trickle of a message": {
    behave: async (socket, head) => {
      socket.write(upgradeAnswer(head));
      const bytes = frame(text, mebibyte);
      let at = 0;
      await pour(socket, () => bytes.subarray(at++, at), 20);
    },
    reason: idle,
  },
  "not answering the upgrade": { behave: () => {}, reason: /handshake/ },
  "a trickle of an answer to the upgrade": {
    behave: async (socket) => {
      socket.write("HTTP/1.1 101 Switching Protocols\r\nX-Slow: ");
      await pour(socket, () => "x", 1_000);
    },
    reason: /handshake/,
  },
  "headers without end": {
    behave: async (socket) => {
      socket.write("HTTP/1.1 101 Switching Protocols\r\n");
      await pour(socket, () => `X-Long: ${"x".repeat(1_000)}\r\n`);
    },
    reason: /too long/,
  },
  "401": { behave: answering("401 Unauthorized"), reason: /HTTP 401/ },
  "403": { behave: answering("403 Forbidden"), reason: /HTTP 403/ },
  "429 with Retry-After": {
    behave: answering("429 Too Many Requests", "Retry-After: 3\r\n"),
    reason: /HTTP 429/,
  },
  "503 with a body without end": {
    behave: async (socket) => {
      socket.write("HTTP/1.1 503 Service Unavailable\r\n\r\n");
      await pour(socket, () => mebibyte);
    },
    reason: /HTTP 503/,
  },
  "301": {
    behave: answering("301 Moved Permanently", "Location: ws://127.0.0.1:1/\r\n"),
    reason: /HTTP 301/,
  },
  "200": { behave: answering("200 OK", "", "<html>"), reason: /HTTP 200/ },
  "not HTTP": {
    behave: (socket) => void socket.end("220 mail.example ESMTP\r\n"),
    reason: /socket hang up|Parse Error/,
  },
  "the wrong Sec-WebSocket-Accept": {
    behave: (socket) => void socket.write(upgradeAnswer("")),
    reason: /Sec-WebSocket-Accept/,
  },
  "offering compression that nobody asked for": {
    behave: (socket, head) =>
      void socket.write(upgradeAnswer(head, "Sec-WebSocket-Extensions: permessage-deflate\r\n")),
    reason: /Sec-WebSocket-Extensions/,
  },
  "a decompression bomb": { behave: after(frame(text, bomb, 0xc0)), reason: /RSV1/ },
  "a message of 100 MB": {
    behave: async (socket, head) => {
      socket.write(upgradeAnswer(head));
      socket.write(frame(text, "", 0x80, 100 * 2 ** 20));
      await pour(socket, () => mebibyte);
    },
    reason: tooLarge,
  },
  "a message of 100 MB in fragments": {
    behave: async (socket, head) => {
      socket.write(upgradeAnswer(head));
      socket.write(frame(binary, mebibyte, 0));
      await pour(socket, () => frame(continuation, mebibyte, 0));
    },
    reason: tooLarge,
  },
  "a message that claims 2^62 bytes": {
    behave: after(frame(text, "", 0x80, 2 ** 62)),
    reason: /Unsupported|larger than/,
  },
  "empty fragments without end": {
    behave: async (socket, head) => {
      socket.write(upgradeAnswer(head));
      socket.write(frame(text, "", 0));
      await pour(
        socket,
        () => Buffer.concat(Array.from({ length: 1_000 }, () => frame(continuation, "", 0))),
        20,
      );
    },
    reason: /fragments|no message for/i,
  },
  "a continuation of nothing": { behave: after(frame(continuation, "x")), reason: /opcode/ },
  "a reserved opcode": { behave: after(frame(3, "x")), reason: /opcode/ },
  "a masked frame": { behave: after(Buffer.from([0x81, 0x81, 1, 2, 3, 4, 5])), reason: /MASK/ },
  "a ping of 200 bytes": { behave: after(frame(ping, "x".repeat(200))), reason: /payload length/ },
  "bytes at random": {
    behave: after(Buffer.from("fe8877665544332211".repeat(500), "hex")),
    reason: /Invalid|RSV|larger/,
  },
  "a good message in fragments of one byte": {
    behave: (socket, head) => {
      socket.write(upgradeAnswer(head));
      const bytes = Buffer.from(good);
      for (const [i, byte] of bytes.entries()) {
        const bits = i === bytes.length - 1 ? 0x80 : 0;
        socket.write(frame(i === 0 ? text : continuation, Buffer.from([byte]), bits));
        if (i % 100 === 50) socket.write(frame(ping, "between"));
      }
      setTimeout(() => socket.end(frame(closeFrame, "")), 500);
    },
    reason: /closed \(code 100[05]\)/,
  },
  "a good message with invalid UTF-8, between others that are rubbish": {
    behave: (socket, head) => {
      socket.write(upgradeAnswer(head));
      const bytes = Buffer.from(good.replace('"Chaos CA"', '"Chaos \u0080 CA"'), "latin1");
      for (const rubbish of ["\xff\xfe", "{", "[]", '{"message_type":1}', ""])
        socket.write(frame(text, Buffer.from(rubbish, "latin1")));
      socket.write(frame(text, bytes));
      socket.write(frame(binary, "\u0000"));
      setTimeout(() => socket.end(frame(closeFrame, "")), 500);
    },
    reason: /closed \(code 100[05]\)/,
  },
});

/** A TCP proxy before a good feed, which treats connections as it is told. */
export class HostileProxy {
  /** For the next connections, in this order; others are passed on. */
  readonly behaviours: Behaviour[] = [];
  /** Heads of the requests for upgrades, in order. */
  readonly requestHeads: string[] = [];
  readonly #server: Server;
  readonly #open = new Set<Socket>();
  readonly #passed = new Set<{ client: Socket; target: Socket }>();

  private constructor(targetPort: number) {
    this.#server = createServer((client) => {
      this.#track(client);
      let head = "";
      const readHead = (data: Buffer) => {
        head += data.toString("latin1");
        if (!head.includes("\r\n\r\n")) return;
        client.off("data", readHead);
        this.requestHeads.push(head);
        const behave = this.behaviours.shift();
        if (behave === undefined) this.#passOn(client, targetPort, head);
        else {
          client.resume();
          void behave(client, head);
        }
      };
      client.on("data", readHead);
    });
  }

  static async start(targetPort: number): Promise<HostileProxy> {
    const proxy = new HostileProxy(targetPort);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Cuts what is passed on, without a Close frame. */
  cut(): void {
    for (const { client, target } of this.#passed) {
      client.destroy();
      target.destroy();
    }
  }

  /** From now on nothing goes through the present connections, and nobody is told: half-open. */
  swallow(): void {
    for (const { client, target } of this.#passed) {
      client.unpipe(target);
      target.unpipe(client);
      for (const socket of [client, target]) socket.resume();
    }
  }

  async close(): Promise<void> {
    for (const socket of this.#open) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #passOn(client: Socket, targetPort: number, head: string): void {
    const target = connect(targetPort, "127.0.0.1");
    this.#track(target);
    const pair = { client, target };
    this.#passed.add(pair);
    target.write(head, "latin1");
    client.pipe(target);
    target.pipe(client);
    for (const socket of [client, target]) {
      socket.on("close", () => {
        this.#passed.delete(pair);
        client.destroy();
        target.destroy();
      });
    }
  }

  #track(socket: Socket): void {
    this.#open.add(socket);
    socket.on("error", () => {}).on("close", () => this.#open.delete(socket));
  }
}
