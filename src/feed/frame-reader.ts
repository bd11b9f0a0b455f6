import { connect, isIP, type Socket, type TcpNetConnectOpts } from "node:net";
import { type ConnectionOptions, connect as connectTls } from "node:tls";

const memoryBytes = 128 * 1024;
/** The length of the header of a frame that is not masked and has a 64-bit length (RFC 6455 section 5.2). */
const longestHeaderBytes = 10;

const fin = 0x80;
const controlBit = 0x08;
const wholeText = 0x81;
const wholeBinary = 0x82;
const close = 0x88;
const masked = 0x80;

const endOfHead = Buffer.from("\r\n\r\n");
const upgraded = Buffer.from("HTTP/1.1 101 ");

/**
 * The kind of bytes that the socket reads at present.
 * - `head`: the answer to the upgrade.
 * - `upgrading`: frames. We keep them until `ws` says that the connection is open.
 * - `frames`: frames. We take the messages out of them.
 * - `over`: the bytes after a refusal or a Close frame. All of them go to `ws`.
 */
type Phase = "head" | "upgrading" | "frames" | "over";

/**
 * Takes the messages of a feed out of the bytes that the socket reads, before these bytes reach `ws`. A message that
 * came as one frame goes to `onMessage` without a copy, in memory that the next read uses again. All other bytes go to
 * `ws` unchanged: the handshake, control frames, fragmented messages, messages longer than this memory, and bytes that
 * break the protocol. Only whole frames are taken out of the stream, so for `ws` these messages were never sent.
 *
 * A message costs a third of the time that it costs with `ws` alone: there is no allocation for each read (the kernel
 * would have to map new pages), no copy of a message that lies across two reads, no object for each header, no event.
 */
export class FrameReader {
  readonly #memory = Buffer.allocUnsafeSlow(memoryBytes);
  readonly #maxMessageBytes: number;
  readonly #onMessage: (message: Buffer) => void;
  #socket: Socket | null = null;
  #phase: Phase = "head";
  /** How many bytes at the beginning of the memory belong to a frame that is not complete yet. */
  #held = 0;
  /** How many bytes of the present frame have not been read yet and have to go to `ws`. */
  #toPassOn = 0;
  /** True between the first and the last frame of a fragmented message. */
  #isInFragments = false;

  /**
   * @param options.onMessage gets each message as a view that is valid until this function returns. Must not throw.
   * @param options.maxMessageBytes the limit of a message; a longer message goes to `ws`, which refuses it.
   */
  constructor(options: { maxMessageBytes: number; onMessage: (message: Buffer) => void }) {
    this.#maxMessageBytes = options.maxMessageBytes;
    this.#onMessage = options.onMessage;
  }

  /** Makes the connection that `ws` reads from (option `createConnection` of `ws`), with TLS or without. */
  connect(options: TcpNetConnectOpts & { servername?: string }, withTls: boolean): Socket {
    const onread = {
      buffer: (): Uint8Array => this.#memory.subarray(this.#held),
      callback: (length: number): boolean => {
        this.#read(this.#held + length);
        return true;
      },
    };
    const { host = "localhost" } = options;
    // `ws` passes the URL's path in `path`, but `net.connect` would use that as the path of a Unix socket.
    const whole = { servername: isIP(host) ? "" : host, ...options, path: undefined, onread };
    this.#socket = withTls ? connectTls(whole as ConnectionOptions) : connect(whole);
    return this.#socket;
  }

  /** The caller calls this when `ws` has accepted the handshake: all further bytes are frames. */
  open(): void {
    if (this.#phase !== "upgrading") return;
    this.#phase = "frames";
    this.#readFrames(this.#held);
  }

  #read(end: number): void {
    if (this.#phase === "frames") this.#readFrames(end);
    else if (this.#phase === "head") this.#readHead(end);
    else if (this.#phase === "over") this.#passOn(0, end);
    else this.#hold(0, end);
  }

  #readHead(end: number): void {
    const head = this.#memory.subarray(0, end);
    const headEnd = head.indexOf(endOfHead);
    if (headEnd === -1) {
      this.#hold(0, end);
      return;
    }
    if (head.subarray(0, upgraded.length).equals(upgraded)) {
      const frames = headEnd + endOfHead.length;
      const answer = Buffer.from(head.subarray(0, frames));
      this.#phase = "upgrading";
      this.#hold(frames, end);
      this.#socket!.push(answer); // `open` may be called before this returns
    } else {
      this.#phase = "over";
      this.#passOn(0, end);
    }
  }

  #readFrames(end: number): void {
    const memory = this.#memory;
    let at = 0;
    if (this.#toPassOn > 0) {
      at = Math.min(this.#toPassOn, end);
      this.#passOn(0, at);
      this.#toPassOn -= at;
    }
    while (end - at >= 2 && this.#phase === "frames") {
      const headerBytes = headerBytesOf(memory[at + 1]!);
      if (end - at < headerBytes) break;
      const start = at + headerBytes;
      const frameEnd = start + payloadBytesOf(memory, at);
      if (this.#isForUs(at, start, frameEnd)) {
        if (frameEnd > end) break;
        this.#onMessage(memory.subarray(start, frameEnd));
      } else {
        this.#notePassedOn(memory[at]!);
        this.#passOn(at, Math.min(frameEnd, end));
        this.#toPassOn = Math.max(frameEnd - end, 0);
      }
      at = Math.min(frameEnd, end);
    }
    if (this.#phase === "over") this.#passOn(at, end);
    else this.#hold(at, end);
  }

  /** Whether the frame is a whole message, not masked, and not too long. */
  #isForUs(at: number, start: number, frameEnd: number): boolean {
    const first = this.#memory[at];
    return (
      (first === wholeText || first === wholeBinary) &&
      !this.#isInFragments &&
      this.#memory[at + 1]! < masked &&
      frameEnd - at <= memoryBytes &&
      frameEnd - start <= this.#maxMessageBytes
    );
  }

  #notePassedOn(firstByte: number): void {
    if (firstByte === close) this.#phase = "over";
    if ((firstByte & controlBit) !== 0) return; // control frames may stand between fragments (RFC 6455 section 5.4)
    this.#isInFragments = (firstByte & fin) === 0;
  }

  /** Moves an incomplete frame to the beginning of the memory. The next read continues it there. */
  #hold(start: number, end: number): void {
    if (start > 0) this.#memory.copyWithin(0, start, end);
    this.#held = end - start;
    if (this.#held === memoryBytes) this.#socket!.destroy(new Error("the answer to the upgrade is too long"));
  }

  #passOn(start: number, end: number): void {
    if (end > start) this.#socket!.push(Buffer.from(this.#memory.subarray(start, end)));
    this.#held = 0;
  }
}

function headerBytesOf(secondByte: number): number {
  const length = secondByte & ~masked;
  const maskBytes = secondByte & masked ? 4 : 0;
  return (length === 127 ? longestHeaderBytes : length === 126 ? 4 : 2) + maskBytes;
}

/** Returns the length of the payload, read from the header that begins at `at`, which must be there as a whole. */
function payloadBytesOf(memory: Buffer, at: number): number {
  const length = memory[at + 1]! & ~masked;
  if (length === 126) return memory.readUInt16BE(at + 2);
  if (length === 127) return memory.readUInt32BE(at + 2) * 2 ** 32 + memory.readUInt32BE(at + 6);
  return length;
}
