import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { Connections } from "../../src/alerts/connections.ts";
import { createPrivateCa } from "../support/private-ca.ts";
import { describeIfAvailable, missing } from "../support/skip.ts";

type Answer = (response: ServerResponse, request: IncomingMessage) => void;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A server that does with its n-th request what `answers[n]` says, then answers 200. `ports` has the client's port of each. */
async function serve(
  answers: Answer[],
  create: (listener: RequestListener) => ReturnType<typeof createServer>,
) {
  const ports: number[] = [];
  const server = create((request, response) => {
    const answer = answers[ports.length] ?? accept;
    ports.push(request.socket.remotePort!);
    request.resume().on("end", () => answer(response, request));
  });
  server.on("connection", (socket) => tcp.set(socket.remotePort!, socket));
  await once(server.listen(0, "127.0.0.1"), "listening");
  cleanups.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return { ports, port: (server.address() as AddressInfo).port };
}

const accept: Answer = (response) => void response.writeHead(200).end("thank you");
/** TCP connections by the client's port: that under a TLS connection, too. */
const tcp = new Map<number, Socket>();
const reset: Answer = ({ socket }) => void tcp.get(socket!.remotePort!)!.resetAndDestroy();
const end: Answer = ({ socket }) => void socket!.end();
const breakOff: Answer = ({ socket }) => void socket!.end("HTTP/1.1 20");

function open(count: number): Connections {
  const connections = new Connections({ connections: count, timeoutSeconds: 10 });
  cleanups.push(() => connections.close());
  return connections;
}

/** Posts, and reads the answer whole, so that the connection is kept. */
async function post(connections: Connections, url: string): Promise<number> {
  const signal = new AbortController().signal;
  const { statusCode, body } = await connections.post(url, { headers: {}, body: "{}", signal });
  await body.dump();
  return statusCode;
}

function describeLostConnections(
  scheme: "http" | "https",
  create: (listener: RequestListener) => ReturnType<typeof createServer>,
) {
  const start = async (...answers: Answer[]) => {
    const { ports, port } = await serve(answers, create);
    return { ports, url: `${scheme}://127.0.0.1:${port}/`, connections: open(1) };
  };

  test.each([
    ["is reset", reset],
    ["is closed", end],
  ])(
    "a kept connection that %s before a byte of the answer: the request is made again on a fresh one",
    async (_, lose) => {
      const { ports, url, connections } = await start(accept, lose);
      expect([await post(connections, url), await post(connections, url)]).toEqual([200, 200]);
      expect(ports).toHaveLength(3);
      expect(ports[1]).toBe(ports[0]);
      expect(ports[2]).not.toBe(ports[0]);
      expect(await post(connections, url)).toBe(200);
    },
  );

  test.each([
    ["is reset", reset],
    ["is closed", end],
    ["breaks off in its answer", breakOff],
  ])("a fresh connection that %s has failed", async (_, lose) => {
    const { ports, url, connections } = await start(lose);
    await expect(post(connections, url)).rejects.toThrow();
    expect(ports).toHaveLength(1);
  });

  test("a kept connection that breaks off in its answer has failed", async () => {
    const { ports, url, connections } = await start(accept, breakOff);
    await post(connections, url);
    await expect(post(connections, url)).rejects.toThrow();
    expect(ports).toHaveLength(2);
  });

  test("the repetition is not repeated", async () => {
    const { ports, url, connections } = await start(accept, reset, reset);
    await post(connections, url);
    await expect(post(connections, url)).rejects.toThrow();
    expect(ports).toHaveLength(3);
  });

  test("every kept connection may be dead: each request is repeated once", async () => {
    const { ports, url } = await start(...Array(4).fill(accept), ...Array(4).fill(reset));
    const connections = open(4);
    const four = () => Promise.all([1, 2, 3, 4].map(() => post(connections, url)));
    await four();
    expect(await four()).toEqual([200, 200, 200, 200]);
    expect(ports).toHaveLength(12);
    expect(new Set(ports).size).toBe(8);
  });
}

describe("connections over HTTP", () => describeLostConnections("http", createServer));

describeIfAvailable("connections over TLS", missing("openssl", "version"), () => {
  const ca = createPrivateCa();
  const [key, cert] = ["server.key", "server.crt"].map((name) => readFileSync(ca.file(name)));
  beforeAll(() => void vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0"));
  afterAll(async () => {
    vi.unstubAllEnvs();
    await ca.remove();
  });
  describeLostConnections("https", (listener) => createTlsServer({ key, cert }, listener));
});
