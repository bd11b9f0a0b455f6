import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Registry } from "prom-client";

/** The body of `/healthz`. */
export interface Health {
  ok: boolean;
  watch_entries: number;
  /** When the last certificate update arrived, in epoch seconds; `null` before the first update. */
  last_ct_event_at: number | null;
  ws_connected: boolean;
  /** `ok`, or the error of the last database operation. */
  database: string;
  /** Matched certificates in memory that are not recorded yet. */
  pending_alerts: number;
  version: string;
  /** A sentence for each problem; absent if `ok` is true. */
  problems?: string[];
}

export interface ApiServer {
  /** `http://host:port`, with the address and port that the server listens on. */
  url: string;
  close(): Promise<void>;
}

/** The error for an address that the server cannot listen on. */
export class ListenError extends Error {
  override readonly name = "ListenError";
  constructor({ host, port }: { host: string; port: number }, cause: Error) {
    super(`cannot listen on ${host}:${port} (${cause.message}): change API_HOST or API_PORT`);
  }
}

/** The longest time that a client may take to send a request. Answers are small and made from memory. */
const requestTimeoutMs = 10_000;
const maxConnections = 200;

/**
 * Serves `GET` and `HEAD` of `/healthz` and `/metrics` without authentication. No request can change anything.
 *
 * @throws ListenError
 */
export async function startApi(options: {
  host: string;
  port: number;
  health: () => Health;
  registry: Registry;
}): Promise<ApiServer> {
  const server = createServer({ requestTimeout: requestTimeoutMs, headersTimeout: requestTimeoutMs });
  server.maxConnections = maxConnections;
  server.on("request", (request, response) => {
    void answer(request, response, options).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => reject(new ListenError(options, error)));
    server.listen(options.port, options.host, resolve);
  });
  const { address, family, port } = server.address() as AddressInfo;
  return {
    url: `http://${family === "IPv6" ? `[${address}]` : address}:${port}`,
    close: () => closeServer(server),
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { health, registry }: { health: () => Health; registry: Registry },
): Promise<void> {
  request.resume();
  const path = request.url?.split("?", 1)[0];
  if (path !== "/healthz" && path !== "/metrics") return end(response, 404, "text/plain", "not found\n");
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("Allow", "GET, HEAD");
    return end(response, 405, "text/plain", "method not allowed\n");
  }
  if (path === "/metrics") return end(response, 200, registry.contentType, await registry.metrics());
  const body = health();
  end(response, body.ok ? 200 : 503, "application/json", `${JSON.stringify(body)}\n`);
}

/** Sends the answer. For `HEAD`, Node.js itself leaves the body out. */
function end(response: ServerResponse, status: number, contentType: string, body: string): void {
  response.writeHead(status, { "Content-Type": contentType, "Content-Length": Buffer.byteLength(body) });
  response.end(body);
}

async function closeServer(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeAllConnections();
  await closed;
}
