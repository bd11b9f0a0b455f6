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

/** How long a client may leave a transaction open and send nothing. Then the client is disconnected. */
const idleInTransactionMs = 5000;

interface Client {
  socket: Socket;
  /** The units of work that the database has not got yet, in order. */
  units: Unit[];
  closed: boolean;
}

/**
 * Serves one PGlite to many clients, on a Unix socket. PGlite has a single session, and the clients take turns with it.
 * A client keeps the session while the session holds state of this client: from the first message of an extended-query
 * batch to its Sync, and from BEGIN to the end of the transaction.
 *
 * We do not use `@electric-sql/pglite-socket`, because its clients take turns after any message. Parse and Bind of a
 * statement of 64 kB and more arrive in several reads, so the statements of two clients would be mixed up.
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
   * Listens on a Unix socket at `path`. Only its owner can connect, whatever the umask. A new socket has the mode that
   * the umask gives it, so we bind the socket in a folder that is closed to others, restrict its mode there, and then
   * move it to `path`.
   */
  async listen(path: string): Promise<void> {
    const folder = join(dirname(path), ".sock");
    rmSync(folder, { recursive: true, force: true }); // a killed process may have left it
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
    rmSync(this.#path, { force: true }); // Node.js removes only the path at which it bound the socket
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
      // A statement blocks this thread from beginning to end. Read the sockets between two statements.
      await new Promise(setImmediate);
    }
  }

  /**
   * Returns the client whose work comes next; undefined if there is none. While a client holds the session, no other is
   * returned. A holder that has disconnected is returned as well, so that its transaction is rolled back.
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

  /** Resets the settings that the last client made with SET: other clients, and certwatch, must not run with them. */
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
   * backend process, and in PGlite this process is the whole database.
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
