import { createServer, type Server, type Socket } from "node:net";
import type { PGlite } from "@electric-sql/pglite";
import {
  copyInTextMessage,
  errorResponse,
  MessageReader,
  query,
  syncMessage,
  type Unit,
  withoutFirstMessage,
} from "./wire.ts";

/** Ends a client that leaves a transaction open without a word for this long. */
const idleInTransactionMs = 5000;

interface Client {
  socket: Socket;
  /** Complete pieces of work, in order, not yet given to the database. */
  units: Unit[];
  closed: boolean;
}

/**
 * Serves one PGlite on a Unix socket to many clients. PGlite has a single session, so a client gets it for as long as
 * the session remembers something of its work: from the first message of an extended-query batch to its Sync, and
 * from BEGIN to the end of the transaction. `@electric-sql/pglite-socket` hands the session over between any two
 * messages instead, so that statements of 64 kB and more (Parse and Bind arrive in several reads) of two clients end
 * up in each other's place.
 */
export class EmbeddedServer {
  readonly #db: PGlite;
  readonly #server: Server;
  readonly #clients = new Set<Client>();
  /** Who has the session; undefined between transactions. */
  #holder: Client | undefined;
  /** Whose settings (SET, LISTEN) the session may still carry. */
  #last: Client | undefined;
  #idleTimer: NodeJS.Timeout | undefined;
  #pumping: Promise<void> | undefined;

  constructor(db: PGlite) {
    this.#db = db;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  async listen(path: string): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(path, resolve);
    });
  }

  /** Hangs up on everybody; an open transaction is rolled back. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const client of this.#clients) client.socket.destroy();
    await closed;
    clearTimeout(this.#idleTimer);
    await this.#pumping;
    if (this.#holder !== undefined) await this.#rollback();
  }

  #accept(socket: Socket): void {
    const client: Client = { socket, units: [], closed: false };
    this.#clients.add(client);
    const reader = new MessageReader();
    socket.on("data", (chunk: Buffer) => {
      try {
        for (const item of reader.push(chunk)) this.#take(client, item);
      } catch (error) {
        socket.end(errorResponse("FATAL", "08P01", (error as Error).message));
      }
    });
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      client.closed = true;
      client.units = [];
      this.#clients.delete(client);
      this.#pump();
    });
  }

  #take(client: Client, item: Unit): void {
    if (item.kind === "decline-tls") client.socket.write("N");
    else if (item.kind === "goodbye") client.socket.end();
    else if (item.kind === "copy-begins") client.socket.write(copyInTextMessage);
    else {
      client.units.push(item);
      this.#pump();
    }
    if (client === this.#holder) this.#watchHolder();
  }

  #pump(): void {
    this.#pumping ??= this.#work().finally(() => {
      this.#pumping = undefined;
      if (this.#next() !== undefined) this.#pump();
    });
  }

  async #work(): Promise<void> {
    for (let client = this.#next(); client !== undefined; client = this.#next()) {
      if (client.closed) await this.#rollback();
      else await this.#run(client, client.units.shift()!);
      // Each statement keeps this thread busy from beginning to end: let the sockets have their turn.
      await new Promise(setImmediate);
    }
  }

  /** Who is served next: the holder alone, while there is one (also a closed one, to be rolled back). */
  #next(): Client | undefined {
    if (this.#holder !== undefined) {
      return this.#holder.closed || this.#holder.units.length > 0 ? this.#holder : undefined;
    }
    for (const client of this.#clients) {
      if (client.units.length === 0) continue;
      // To the end of the line, so that everybody has a turn.
      this.#clients.delete(client);
      this.#clients.add(client);
      return client;
    }
    return undefined;
  }

  async #run(client: Client, unit: Unit): Promise<void> {
    if (client !== this.#last) await this.#forgetSettings();
    this.#last = client;
    let answer = await this.#exec(unit.bytes);
    if (unit.kind === "copy") answer = withoutFirstMessage(answer, "G");
    client.socket.write(answer);
    this.#holder = unit.kind === "flush" || this.#db.isInTransaction() ? client : undefined;
    this.#watchHolder();
  }

  /** What one client SETs must not reach the next one, least of all the service. */
  async #forgetSettings(): Promise<void> {
    if (this.#last !== undefined) await this.#exec(query("RESET SESSION AUTHORIZATION;RESET ALL;UNLISTEN *"));
  }

  async #rollback(): Promise<void> {
    this.#holder = undefined;
    clearTimeout(this.#idleTimer);
    await this.#exec(Buffer.concat([syncMessage, query("ROLLBACK")]));
  }

  async #exec(bytes: Buffer): Promise<Buffer> {
    const answer: Buffer[] = [];
    // The callback sees WASM memory, which the next call overwrites.
    await this.#db.execProtocolRawStream(bytes, { onRawData: (data) => void answer.push(Buffer.from(data)) });
    return Buffer.concat(answer);
  }

  /**
   * Neither `idle_in_transaction_session_timeout` nor anything else that ends a backend can be used: PGlite's only
   * backend is the database itself.
   */
  #watchHolder(): void {
    clearTimeout(this.#idleTimer);
    const holder = this.#holder;
    if (holder === undefined || holder.units.length > 0) return;
    this.#idleTimer = setTimeout(() => {
      const seconds = idleInTransactionMs / 1000;
      const message = `the transaction was idle for ${seconds} s and is rolled back: it would stall certwatch`;
      holder.socket.end(errorResponse("FATAL", "25P03", message));
      holder.closed = true;
      holder.units = [];
      this.#clients.delete(holder);
      this.#pump();
    }, idleInTransactionMs);
  }
}
