import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import type { LogEntry } from "./log-entry.ts";
import { type CertstreamServer, type Feed, wireMessage } from "./wire.ts";

const feedOfPath: Record<string, Feed> = {
  "/full-stream": "full",
  "/": "lite",
  "/domains-only": "domains-only",
};

/** Answers an upgrade with this status and headers instead of accepting it. */
export interface Refusal {
  status: number;
  headers?: Record<string, string>;
}

export interface CertstreamSimulator {
  /** Of the full feed, `ws://host:port/full-stream`. */
  url: string;
  /** `ws://host:port`, to which a feed's path can be added. */
  origin: string;
  port: number;
  /** Clients connected now. */
  readonly connections: number;
  /** Clients accepted since the start. */
  readonly accepted: number;
  /** Upgrades refused since the start. */
  readonly refused: number;
  /** Sends each entry to every client, in the format of the client's feed; resolves when all are written out. */
  publish(...entries: LogEntry[]): Promise<void>;
  /** Sends these bytes to every client as one message; resolves when they are written out. */
  sendRaw(data: string | Uint8Array, options?: { binary?: boolean }): Promise<void>;
  /** Resolves when at least `accepted` clients have been accepted since the start (default 1). */
  waitForClient(accepted?: number): Promise<void>;
  /** Resolves when at least `refused` upgrades have been refused since the start (default 1). */
  waitForRefusal(refused?: number): Promise<void>;
  /** Cuts every connection, without a Close frame; `closeCode` sends one instead. */
  dropAll(closeCode?: number): void;
  /** Stops reading from the present clients: their pings and Close frames stay unanswered. */
  freezeAll(): void;
  /** Refuses upgrades from now on; `null` accepts again. */
  refuse(refusal: Refusal | null): void;
  /** Cuts every connection and stops listening. */
  close(): Promise<void>;
}

/**
 * A certstream server whose entries are made up by the caller. It serves `/full-stream`, `/` (lite) and
 * `/domains-only` on one port; any other path is 404. It sends no pings of its own, and answers those of
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
  const waiters = new Set<() => void>();
  let refusal: Refusal | null = null;
  let accepted = 0;
  let refused = 0;

  const changed = () => {
    for (const check of [...waiters]) check();
  };
  const until = (isReached: () => boolean) =>
    new Promise<void>((resolve) => {
      const check = () => {
        if (!isReached()) return;
        waiters.delete(check);
        resolve();
      };
      waiters.add(check);
      check();
    });

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

  // A client that goes away while it is written to is no failure of the sender.
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
