import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import type { LogEntry } from "./log-entry.ts";
import { createWaiters } from "./waiters.ts";
import { type CertstreamServer, type Feed, wireMessage } from "./wire.ts";

const feedOfPath: Record<string, Feed> = {
  "/full-stream": "full",
  "/": "lite",
  "/domains-only": "domains-only",
};

/** The status and headers with which the server refuses an upgrade. */
export interface Refusal {
  status: number;
  headers?: Record<string, string>;
}

export interface CertstreamSimulator {
  /** The URL of the full feed, `ws://host:port/full-stream`. */
  url: string;
  /** `ws://host:port`, without the path of a feed. */
  origin: string;
  port: number;
  /** The number of clients that are connected now. */
  readonly connections: number;
  /** The number of clients accepted since the start. */
  readonly accepted: number;
  /** The number of upgrades refused since the start. */
  readonly refused: number;
  /** Sends each entry to every client, in the format of the client's feed; resolves when all messages are written. */
  publish(...entries: LogEntry[]): Promise<void>;
  /** Sends `data` to every client as one message; resolves when all messages are written. */
  sendRaw(data: string | Uint8Array, options?: { binary?: boolean }): Promise<void>;
  /** Resolves when at least `accepted` clients have been accepted since the start (default 1). */
  waitForClient(accepted?: number): Promise<void>;
  /** Resolves when at least `refused` upgrades have been refused since the start (default 1). */
  waitForRefusal(refused?: number): Promise<void>;
  /** Cuts every connection without a Close frame. With `closeCode`, sends a Close frame instead. */
  dropAll(closeCode?: number): void;
  /** Stops reading from the clients that are connected now: their pings and Close frames stay unanswered. */
  freezeAll(): void;
  /** Refuses upgrades from now on. With `null`, accepts them again. */
  refuse(refusal: Refusal | null): void;
  /** Cuts every connection and stops listening. */
  close(): Promise<void>;
}

/**
 * Starts a certstream server that sends the entries that its caller publishes. The server has `/full-stream`, `/`
 * (lite) and `/domains-only` on one port, and answers 404 for any other path. It sends no pings, but answers those of
 * clients.
 */
export async function startCertstreamSimulator({
  host = "127.0.0.1",
  port = 0,
  server = "go" as CertstreamServer,
} = {}): Promise<CertstreamSimulator> {
  const http = createServer((_request, response: ServerResponse) => response.writeHead(426).end());
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  const feeds = new Map<WebSocket, Feed>();
  const { changed, until } = createWaiters();
  let refusal: Refusal | null = null;
  let accepted = 0;
  let refused = 0;

  http.on("upgrade", (request, socket, head) => {
    const feed = feedOfPath[new URL(request.url ?? "/", "http://localhost").pathname];
    const answer = refusal ?? (feed === undefined ? { status: 404 } : null);
    if (answer !== null) {
      const headers = Object.entries({ "Content-Length": "0", Connection: "close", ...answer.headers });
      const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
      socket.on("error", () => {});
      socket.end(`HTTP/1.1 ${answer.status} Refused\r\n${lines}\r\n`);
      refused++;
      changed();
      return;
    }
    sockets.handleUpgrade(request, socket, head, (client) => {
      feeds.set(client, feed!);
      client.on("error", () => {});
      client.on("close", () => feeds.delete(client));
      accepted++;
      changed();
    });
  });

  // If a client goes away during a write, that is no failure of the sender.
  const send = (client: WebSocket, data: string | Uint8Array, binary: boolean) =>
    new Promise<void>((resolve) => client.send(data, { binary }, () => resolve()));

  await new Promise<void>((resolve, reject) => {
    http.once("error", reject);
    http.listen(port, host, resolve);
  });
  const address = http.address() as AddressInfo;
  const origin = `ws://${host.includes(":") ? `[${host}]` : host}:${address.port}`;

  return {
    url: `${origin}/full-stream`,
    origin,
    port: address.port,
    get connections() {
      return feeds.size;
    },
    get accepted() {
      return accepted;
    },
    get refused() {
      return refused;
    },
    async publish(...entries) {
      const written: Promise<void>[] = [];
      for (const entry of entries) {
        const texts = new Map<Feed, string>();
        for (const [client, feed] of feeds) {
          if (!texts.has(feed)) texts.set(feed, wireMessage(entry, { feed, server }));
          written.push(send(client, texts.get(feed)!, false));
        }
      }
      await Promise.all(written);
    },
    async sendRaw(data, { binary = typeof data !== "string" } = {}) {
      await Promise.all([...feeds.keys()].map((client) => send(client, data, binary)));
    },
    waitForClient: (count = 1) => until(() => accepted >= count),
    waitForRefusal: (count = 1) => until(() => refused >= count),
    dropAll(closeCode) {
      for (const client of feeds.keys())
        closeCode === undefined ? client.terminate() : client.close(closeCode);
    },
    freezeAll() {
      for (const client of feeds.keys()) client.pause();
    },
    refuse(next) {
      refusal = next;
    },
    async close() {
      for (const client of feeds.keys()) client.terminate();
      http.closeAllConnections();
      await new Promise<void>((resolve) => http.close(() => resolve()));
    },
  };
}
