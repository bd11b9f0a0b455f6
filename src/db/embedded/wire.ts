import { startupCode } from "../startup-codes.ts";

/**
 * A piece of work for the session, or a message that our server answers without the session. `bytes` holds whole
 * messages of the frontend/backend protocol 3.0 (PostgreSQL documentation, "Frontend/Backend Protocol").
 *
 * - `work`: the database ends its answer with ReadyForQuery
 * - `flush`: a part of an extended-query batch; the rest follows
 * - `copy`: COPY FROM STDIN with all of its data
 * - `copy-begins`: the command COPY FROM STDIN has arrived. The client waits for CopyInResponse before it sends the
 *   data
 * - `decline-tls`: the client asks for encryption, which a Unix socket does not need
 * - `goodbye`: the client wants to be disconnected
 */
export interface Unit {
  kind: "work" | "flush" | "copy" | "copy-begins" | "decline-tls" | "goodbye";
  bytes: Buffer;
}

const maxStartupBytes = 10_000; // the server's own limit, MAX_STARTUP_PACKET_LENGTH
const maxUnitBytes = 256 * 1024 * 1024;
const nothing = Buffer.alloc(0);
const copyFromStdin = /\bcopy\b[^;]*\bfrom\s+stdin\b/i;

/** Splits the bytes that one client sends into units of work. */
export class MessageReader {
  #chunks: Buffer[] = [];
  #size = 0;
  #started = false;
  #unit: Buffer[] = [];
  #unitSize = 0;
  #copying = false;

  /**
   * Takes bytes of the client and yields the units that are complete.
   *
   * @throws Error if the client does not speak the protocol, or sends more than the limit
   */
  *push(chunk: Buffer): Generator<Unit> {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    for (let message = this.#nextMessage(); message !== undefined; message = this.#nextMessage()) {
      const unit = this.#started ? this.#onMessage(message) : this.#onStartup(message);
      if (unit !== undefined) yield unit;
    }
  }

  #nextMessage(): Buffer | undefined {
    const typeBytes = this.#started ? 1 : 0;
    if (this.#size < typeBytes + 4) return undefined;
    let first = this.#chunks[0]!;
    if (first.length < typeBytes + 4) first = this.#joined();
    const length = typeBytes + first.readInt32BE(typeBytes);
    const limit = this.#started ? maxUnitBytes : maxStartupBytes;
    if (length < typeBytes + 4 || length > limit) throw new Error(`a message of ${length} bytes is refused`);
    if (this.#size < length) return undefined;
    const all = this.#joined();
    this.#chunks = all.length > length ? [all.subarray(length)] : [];
    this.#size -= length;
    return all.subarray(0, length);
  }

  /** Returns the received chunks as one buffer. A large message is joined only when all of its chunks are there. */
  #joined(): Buffer {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0]!;
  }

  #onStartup(message: Buffer): Unit {
    const code = message.length >= 8 ? message.readInt32BE(4) : 0;
    if (code === startupCode.sslRequest || code === startupCode.gssRequest)
      return { kind: "decline-tls", bytes: nothing };
    if (code === startupCode.cancelRequest) return { kind: "goodbye", bytes: nothing }; // nothing can interrupt the session
    if (code !== startupCode.protocol3) throw new Error("only protocol version 3.0 is spoken here");
    this.#started = true;
    return { kind: "work", bytes: message };
  }

  #onMessage(message: Buffer): Unit | undefined {
    const type = String.fromCharCode(message[0]!);
    if (type === "X") return { kind: "goodbye", bytes: nothing };
    this.#unitSize += message.length;
    if (this.#unitSize > maxUnitBytes) throw new Error(`more than ${maxUnitBytes} bytes at once are refused`);
    this.#unit.push(message);
    if (this.#copying) return type === "c" || type === "f" ? this.#finish("copy") : undefined;
    const copies = (type === "Q" || type === "P") && copyFromStdin.test(message.toString("latin1"));
    if (copies) {
      // PGlite reads the data of a COPY in the same call as the command, and goes down if the data is not there yet.
      if (type === "P") throw new Error("COPY FROM STDIN works with the simple query protocol only");
      this.#copying = true;
      return { kind: "copy-begins", bytes: nothing };
    }
    if (type === "Q" || type === "S" || type === "F") return this.#finish("work");
    return type === "H" ? this.#finish("flush") : undefined;
  }

  #finish(kind: Unit["kind"]): Unit {
    const bytes = Buffer.concat(this.#unit);
    this.#unit = [];
    this.#unitSize = 0;
    this.#copying = false;
    return { kind, bytes };
  }
}

/** Builds a message of the protocol: type, length, body. */
function message(type: string, body: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.write(type, 0, "latin1");
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

export const query = (sql: string): Buffer => message("Q", Buffer.from(`${sql}\0`));

export const syncMessage = message("S", nothing);

/** The message CopyInResponse: text format, without the columns, which clients do not need. */
export const copyInTextMessage = message("G", Buffer.from([0, 0, 0]));

export function errorResponse(severity: "FATAL" | "ERROR", sqlState: string, text: string): Buffer {
  return message("E", Buffer.from(`S${severity}\0V${severity}\0C${sqlState}\0M${text}\0\0`));
}

/** Returns a sequence of messages without the first message of one type. */
export function withoutFirstMessage(messages: Buffer, type: string): Buffer {
  for (let start = 0; start < messages.length; ) {
    const end = start + 1 + messages.readInt32BE(start + 1);
    if (messages[start] === type.charCodeAt(0)) {
      return Buffer.concat([messages.subarray(0, start), messages.subarray(end)]);
    }
    start = end;
  }
  return messages;
}
