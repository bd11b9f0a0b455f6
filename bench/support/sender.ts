import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import {
  type CorpusOptions,
  firstIndex,
  indexDigits,
  logCount,
  makeCorpus,
  watchedPrefix,
} from "./corpus.ts";

/*
 * A certstream server that never is the slow side: a process of its own, frames made beforehand, written to the bare
 * socket in large pieces. It tells when the client has worked off what was sent by a ping at its end, whose pong comes
 * after everything before it was read.
 *
 * Over IPC: gets `{ corpus }`, answers `{ url }`; then for each client, in order of connection, `{ client }`; then gets
 * `{ send: n, to: client, ratePerSecond? }` (the corpus should go into n: its messages are numbered), and answers `{ done: client, sentAt }` when it was
 * worked off.
 */

const chunkBytes = 4 * 1024 * 1024;

interface Frames {
  bytes: Buffer;
  /** Where each frame ends. */
  ends: number[];
  /** Where the digits of `cert_index` begin; -1: nowhere. */
  indexAt: number[];
  /** Of the certificates for watched names; empty for others. */
  fingerprints: string[];
}

const clients: Socket[] = [];
/** By client: the next index of each log. */
const nextIndexes: number[] = [];
let frames: Frames;

process.on("message", async (message: Command) => {
  if ("corpus" in message) {
    const corpus = makeCorpus(message.corpus);
    frames = { ...toFrames(corpus), fingerprints: corpus.map(watchedFingerprint) };
    process.send!({ url: await listen() });
  } else if ("send" in message) {
    const sentAt = await send(message);
    process.send!({ done: message.to, sentAt });
  }
});

export type Command =
  | { corpus: CorpusOptions }
  | { send: number; to: number; ratePerSecond?: number | undefined };

function watchedFingerprint(text: string): string {
  const hex = new RegExp(`"all_domains":\\["www\\.${watchedPrefix}.*?"fingerprint":"([0-9A-F:]+)"`).exec(
    text,
  )?.[1];
  return hex === undefined ? "" : hex.replaceAll(":", "").toLowerCase();
}

function toFrames(texts: string[]): Omit<Frames, "fingerprints"> {
  const ends: number[] = [];
  const indexAt: number[] = [];
  const parts: Buffer[] = [];
  let end = 0;
  for (const text of texts) {
    const payload = Buffer.from(text);
    const header = frameHeader(payload.length);
    const at = payload.indexOf(`"cert_index":${firstIndex}`);
    indexAt.push(at === -1 ? -1 : end + header.length + at + '"cert_index":'.length);
    parts.push(header, payload);
    end += header.length + payload.length;
    ends.push(end);
  }
  return { bytes: Buffer.concat(parts), ends, indexAt };
}

/** FIN, opcode text, not masked (RFC 6455 section 5.2). */
function frameHeader(length: number): Buffer {
  if (length < 126) return Buffer.from([0x81, length]);
  if (length < 65_536) return Buffer.from([0x81, 126, length >> 8, length & 0xff]);
  const header = Buffer.alloc(10);
  header[0] = 0x81;
  header[1] = 127;
  header.writeBigUInt64BE(BigInt(length), 2);
  return header;
}

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
    writeIndexes(to);
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
    const fingerprint = frames.fingerprints[i];
    if (fingerprint) sentAt.push([fingerprint, epochMs]);
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

/** Goes on counting in each of the logs, as they do. */
function writeIndexes(client: number): void {
  const next = nextIndexes[client] ?? firstIndex;
  for (const [i, at] of frames.indexAt.entries()) {
    if (at === -1) continue;
    let rest = next + Math.floor(i / logCount);
    for (let digit = at + indexDigits - 1; digit >= at; digit--) {
      frames.bytes[digit] = 0x30 + (rest % 10);
      rest = Math.floor(rest / 10);
    }
  }
  nextIndexes[client] = next + Math.ceil(frames.indexAt.length / logCount);
}
