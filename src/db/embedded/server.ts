import { chmodSync, mkdirSync, renameSync, rmdirSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { dirname, join } from "node:path";
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

/** A client that leaves a transaction open and sends nothing for this long is disconnected. */
const idleInTransactionMs = 5000;

interface Client {
  socket: Socket;
  /** Complete pieces of work, in order, that the database has not got yet. */
  units: Unit[];
  closed: boolean;
}

/**
 * Serves one PGlite to many clients, on a Unix socket. PGlite has a single session, and the clients take turns with it.
 * A client keeps the session while that remembers something of the client's work: from the first message of an
 * extended-query batch to its Sync, and from BEGIN to the end of the transaction.
 *
 * `@electric-sql/pglite-socket` is not used, because there clients take turns after any message. Parse and Bind of a
 * statement of 64 kB and more arrive in several reads, so statements of two clients got mixed up.
 */
export class EmbeddedServer {
  readonly #db: PGlite;
  readonly #server: Server;
  readonly #clients = new Set<Client>();
  /** The client that has the session; undefined between transactions. */
  #holder: Client | undefined;
  /** The client that had the session last. Its settings (SET, LISTEN) may still be in force. */
  #last: Client | undefined;
  #idleTimer: NodeJS.Timeout | undefined;
  #pumping: Promise<void> | undefined;
  #path = "";

  constructor(db: PGlite) {
    this.#db = db;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  /**
   * Listens at `path`, where nobody but the owner can connect, whatever the umask. A socket has the umask's mode from the
   * moment it is bound, so it is bound in a folder that is closed to others, restricted there, and then moved to its place.
   */
  async listen(path: string): Promise<void> {
    const folder = join(dirname(path), ".sock");
    rmSync(folder, { recursive: true, force: true }); // left by a process that was killed
    mkdirSync(folder, { mode: 0o700 });
    const draft = join(folder, "s");
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(draft, resolve);
    });
    chmodSync(draft, 0o600);
    renameSync(draft, path);
    rmdirSync(folder);
    this.#path = path;
  }

  /** Disconnects every client, and rolls an open transaction back. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const client of this.#clients) client.socket.destroy();
    await closed;
    rmSync(this.#path, { force: true }); // Node.js removes the path that it bound
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
      // A statement blocks this thread from beginning to end. Between two of them the sockets are read.
      await new Promise(setImmediate);
    }
  }

  /**
   * The client whose work comes next. While a client holds the session, nobody else is served; a holder that has
   * disconnected is returned too, so that its transaction is rolled back.
   */
  #next(): Client | undefined {
    if (this.#holder !== undefined) {
      return this.#holder.closed || this.#holder.units.length > 0 ? this.#holder : undefined;
    }
    for (const client of this.#clients) {
      if (client.units.length === 0) continue;
      // This client goes to the end of the line, so that everybody has a turn.
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

  /** Undoes what the last client SET: other clients, and certwatch itself, must not run with its settings. */
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
    // `data` is a view of WASM memory, which the next call overwrites: copy it.
    await this.#db.execProtocolRawStream(bytes, { onRawData: (data) => void answer.push(Buffer.from(data)) });
    return Buffer.concat(answer);
  }

  /**
   * Starts the timer that ends an idle transaction. Postgres' own `idle_in_transaction_session_timeout` would end the
   * backend, and PGlite's only backend is the whole database.
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
