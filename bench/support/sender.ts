import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { type CorpusOptions, firstIndex, makeCorpus } from "./corpus.ts";
import { type Frames, toFrames, writeCertificates, writeIndexes } from "./frames.ts";

/*
 * A certstream server that never is the slow side: a process of its own, frames made beforehand, written to the bare
 * socket in large pieces. It tells when the client has worked off what was sent by a ping at its end, whose pong comes
 * after everything before it was read.
 *
 * Over IPC: gets `{ corpus }`, answers `{ url, messageBytes }`; then for each client, in order of connection,
 * `{ client }`; then gets `{ send: n, to: client, ratePerSecond? }` (the corpus should go into n: its messages are
 * numbered), and answers `{ done: client, sentAt }` when it was worked off.
 */

const chunkBytes = 4 * 1024 * 1024;

const clients: Socket[] = [];
/** By client: the next index of each log. */
const nextIndexes: number[] = [];
/** How often the corpus was sent: certificates for watched names are never sent twice. */
let passes = 0;
let frames: Frames;

process.on("message", async (message: Command) => {
  if ("corpus" in message) {
    frames = toFrames(makeCorpus(message.corpus));
    process.send!({ url: await listen(), messageBytes: frames.bytes.length / frames.ends.length });
  } else if ("send" in message) {
    const sentAt = await send(message);
    process.send!({ done: message.to, sentAt });
  }
});

export type Command =
  | { corpus: CorpusOptions }
  | { send: number; to: number; ratePerSecond?: number | undefined };

async function listen(): Promise<string> {
  const server = createServer();
  server.on("upgrade", (request, socket: Socket) => {
    const key = `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
    const accept = createHash("sha1").update(key).digest("base64");
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    socket.on("error", () => {});
    socket.on("data", (bytes: Buffer) => readControlFrames(socket, bytes));
    socket.setNoDelay();
    process.send!({ client: clients.push(socket) - 1 });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}/full-stream`;
}

/** Sends so many messages, over and over from the corpus, as fast as they are read or at a rate. */
async function send({
  send: count,
  to,
  ratePerSecond,
}: Extract<Command, { send: number }>): Promise<SentTimes> {
  const socket = clients[to]!;
  const startMs = performance.now();
  const sentAt: SentTimes = [];
  let sent = 0;
  while (sent < count) {
    nextIndexes[to] = writeIndexes(frames, nextIndexes[to] ?? firstIndex);
    writeCertificates(frames, passes * frames.ends.length);
    passes += 1;
    let from = 0;
    for (let first = 0; first < frames.ends.length && sent < count; ) {
      const due =
        ratePerSecond === undefined
          ? count
          : Math.floor(((performance.now() - startMs) / 1000) * ratePerSecond);
      if (due <= sent) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        continue;
      }
      let last = first;
      while (
        last + 1 < frames.ends.length &&
        frames.ends[last]! - from < chunkBytes &&
        sent + (last + 1 - first) < Math.min(count, due)
      )
        last++;
      const end = frames.ends[last]!;
      if (ratePerSecond !== undefined) noteSent(sentAt, first, last);
      await new Promise((resolve) => socket.write(frames.bytes.subarray(from, end), resolve));
      sent += last + 1 - first;
      from = end;
      first = last + 1;
    }
  }
  const pong = once(socket, "pong");
  socket.write(Buffer.from([0x89, 0]));
  await pong;
  return sentAt;
}

/** Of the messages that are for a watched name, with a rate: SHA-1 in lower-case hex, and ms since the epoch. */
export type SentTimes = [fingerprint: string, epochMs: number][];

function noteSent(sentAt: SentTimes, first: number, last: number): void {
  const epochMs = performance.timeOrigin + performance.now();
  for (let i = first; i <= last; i++) {
    const fingerprint = frames.watched.get(i)?.fingerprint;
    if (fingerprint !== undefined) sentAt.push([fingerprint, epochMs]);
  }
}

/** Clients send nothing but short masked control frames here: pings, which are answered, and pongs. */
function readControlFrames(socket: Socket, bytes: Buffer): void {
  for (let at = 0; at + 1 < bytes.length; at += 6 + (bytes[at + 1]! & 0x7f)) {
    const opcode = bytes[at]! & 0x0f;
    if (opcode === 0x9) socket.write(Buffer.from([0x8a, 0]));
    if (opcode === 0xa) socket.emit("pong");
    if (opcode === 0x8) socket.end(Buffer.from([0x88, 0]));
  }
}
