import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Registry } from "prom-client";
import { createPort } from "./http/port.ts";

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
  /** A sentence for each thing that somebody should look at although the service works; absent if there is none. */
  warnings?: string[];
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

const minRenderIntervalMs = 1_000;

/**
 * Serves `GET` and `HEAD` of `/healthz` and `/metrics` without authentication. No request can change anything, and no
 * number of requests can stall the service, see {@link createPort}.
 *
 * @param options.metrics renders the text of `/metrics`; called at most once a second.
 * @throws ListenError
 */
export async function startApi(options: {
  host: string;
  port: number;
  health: () => Health;
  metrics: () => Promise<string>;
}): Promise<ApiServer> {
  const pages: Pages = { health: options.health, metrics: atMostOnceASecond(options.metrics) };
  const http = createServer();
  const onRequest = (request: IncomingMessage, response: ServerResponse) => {
    void answer(request, response, pages).catch(() => response.destroy());
  };
  // Whoever asks before sending a body ("Expect: 100-continue") gets the answer in its place.
  for (const event of ["request", "checkContinue", "checkExpectation"]) http.on(event, onRequest);
  http.on("connect", (_request, connection) => connection.end(refusedTunnel));

  const { server, close } = createPort(http);
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => reject(new ListenError(options, error)));
    server.listen(options.port, options.host, resolve);
  });
  const { address, family, port } = server.address() as AddressInfo;
  return { url: `http://${family === "IPv6" ? `[${address}]` : address}:${port}`, close };
}

interface Pages {
  health: () => Health;
  metrics: () => Promise<string>;
}

/** Rendering takes milliseconds in which the feed is not read: whoever asks within a second gets the same text. */
function atMostOnceASecond(render: () => Promise<string>): () => Promise<string> {
  let renderedAtMs = Number.NEGATIVE_INFINITY;
  let text: Promise<string>;
  return () => {
    const nowMs = performance.now();
    if (nowMs - renderedAtMs >= minRenderIntervalMs) {
      renderedAtMs = nowMs;
      text = render();
    }
    return text;
  };
}

const allowed = "GET, HEAD";
const refusedTunnel = `HTTP/1.1 405 Method Not Allowed\r\nAllow: ${allowed}\r\nConnection: close\r\n\r\n`;

async function answer(
  { url, method }: IncomingMessage,
  response: ServerResponse,
  { health, metrics }: Pages,
): Promise<void> {
  const path = url?.split("?", 1)[0]?.replace(/(?<=.)\/$/, "");
  if (path !== "/healthz" && path !== "/metrics") return end(response, 404, "text/plain", "not found\n");
  if (method !== "GET" && method !== "HEAD") {
    response.setHeader("Allow", allowed);
    return end(response, 405, "text/plain", "method not allowed\n");
  }
  if (path === "/metrics") return end(response, 200, Registry.PROMETHEUS_CONTENT_TYPE, await metrics());
  const body = health();
  end(response, body.ok ? 200 : 503, "application/json", `${JSON.stringify(body)}\n`);
}

/** Sends the answer, the only one on its connection. For `HEAD`, Node.js itself leaves the body out. */
function end(response: ServerResponse, status: number, contentType: string, body: string): void {
  response.writeHead(status, {
    "Content-Type": contentType,
    "Content-Length": Buffer.byteLength(body),
    Connection: "close",
  });
  response.end(body);
}
