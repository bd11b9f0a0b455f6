import { once } from "node:events";
import { request } from "node:http";
import { connect } from "node:net";
import { networkInterfaces } from "node:os";
import { Counter, Registry } from "prom-client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ApiServer, type Health, ListenError, startApi } from "../src/http.ts";
import { waitUntil } from "./support/wait.ts";

const health: Health = {
  ok: true,
  watch_entries: 12,
  last_ct_event_at: 1_761_918_776.52,
  ws_connected: true,
  database: "ok",
  pending_alerts: 0,
  version: "1.2.3",
};

const hasIpv6 = Object.values(networkInterfaces()).some((each) =>
  each?.some(({ address }) => address === "::1"),
);

describe("the HTTP API", () => {
  let api: ApiServer;
  let current: Health = health;
  const registry = new Registry();
  const count = new Counter({ name: "test_total", help: "A test.", registers: [registry] });
  let rendered = 0;
  const render = () => {
    rendered++;
    return registry.metrics();
  };
  beforeAll(async () => {
    api = await startApi({ host: "127.0.0.1", port: 0, health: () => current, metrics: render });
  });
  afterAll(() => api.close());

  const ask = async (path: string, method = "GET") => {
    const response = await fetch(api.url + path, { method });
    return { status: response.status, headers: response.headers, body: await response.text() };
  };

  test("GET /healthz: 200 while ok, 503 with the problems when not", async () => {
    const ok = await ask("/healthz");
    expect([ok.status, ok.headers.get("content-type"), JSON.parse(ok.body)]).toEqual([
      200,
      "application/json",
      health,
    ]);
    current = { ...health, ok: false, last_ct_event_at: null, problems: ["recorder has died"] };
    const bad = await ask("/healthz?verbose");
    current = health;
    expect([bad.status, JSON.parse(bad.body)]).toEqual([
      503,
      { ...health, ok: false, last_ct_event_at: null, problems: ["recorder has died"] },
    ]);
  });

  test("GET /metrics: the text exposition", async () => {
    const { status, headers, body } = await ask("/metrics");
    expect([status, headers.get("content-type")]).toEqual([200, "text/plain; version=0.0.4; charset=utf-8"]);
    expect(body).toContain("# TYPE test_total counter\ntest_total 0\n");
  });

  test.each(["/healthz", "/metrics"])("HEAD %s: as GET, without the body", async (path) => {
    const [head, get] = [await ask(path, "HEAD"), await ask(path)];
    expect([head.status, head.body]).toEqual([200, ""]);
    expect(head.headers.get("content-length")).toBe(String(get.body.length));
    expect(head.headers.get("content-type")).toBe(get.headers.get("content-type"));
  });

  test.each(["/healthz/", "/metrics/", "/metrics/?x=1"])("%s: as without the slash", async (path) => {
    expect((await ask(path)).status).toBe(200);
  });

  test.each(["/", "//", "/health", "/healthz//", "/metrics/x", "//metrics", "/HEALTHZ", "/..%2fmetrics"])(
    "%s: 404",
    async (path) => {
      for (const method of ["GET", "HEAD", "POST"]) expect((await ask(path, method)).status).toBe(404);
    },
  );

  test.each(["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])("%s: 405, and what is allowed", async (method) => {
    for (const path of ["/healthz", "/metrics"]) {
      const { status, headers } = await ask(path, method);
      expect([status, headers.get("allow")]).toEqual([405, "GET, HEAD"]);
    }
  });

  test("a large body that nobody asked for does not matter", async () => {
    const outgoing = request(`${api.url}/healthz`, { method: "POST" });
    outgoing.on("error", () => {});
    outgoing.end(Buffer.alloc(5_000_000));
    const [response] = await once(outgoing, "response");
    expect(response.statusCode).toBe(405);
    response.resume();
    expect((await ask("/healthz")).status).toBe(200);
  });

  /** Sends `bytes` on a connection of its own; resolves with all that came back when the server has closed it. */
  const send = async (...bytes: (string | Buffer)[]): Promise<string> => {
    const socket = connect({ port: Number(new URL(api.url).port), host: "127.0.0.1", allowHalfOpen: true });
    socket.on("error", () => {});
    for (const each of bytes) socket.write(each);
    let received = "";
    for await (const chunk of socket) received += chunk;
    socket.destroy();
    return received;
  };
  const answersIn = (received: string) => received.match(/^HTTP\/1\.1 .*$/gm);

  test("one connection, one request: pipelined ones behind it are dropped, and the client is told", async () => {
    const received = await send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(10_000));
    expect(answersIn(received)).toEqual(["HTTP/1.1 200 OK"]);
    expect(received).toContain("\r\nConnection: close\r\n");
    expect(received.endsWith(`\r\n\r\n${JSON.stringify(health)}\n`)).toBe(true);
  });

  test("a body is dropped, whatever its length is said to be, and asked for or not", async () => {
    const head = "GET /healthz HTTP/1.1\r\nHost: x\r\n";
    for (const fields of [
      "Content-Length: 3\r\n",
      "Content-Length: 99999999999999\r\n",
      "Transfer-Encoding: chunked\r\n",
      "Content-Length: 5000000\r\nExpect: 100-continue\r\n",
      "Expect: the unexpected\r\n",
      "Connection: Upgrade\r\nUpgrade: websocket\r\n",
    ]) {
      const received = await send(`${head}${fields}\r\n`, Buffer.alloc(300_000, "x"));
      expect(answersIn(received), fields).toEqual(["HTTP/1.1 200 OK"]);
    }
    expect(answersIn(await send("CONNECT other.example:443 HTTP/1.1\r\nHost: x\r\n\r\n"))).toEqual([
      "HTTP/1.1 405 Method Not Allowed",
    ]);
  });

  test("a head in pieces, with line feeds alone, or behind empty lines is read all the same", async () => {
    const port = Number(new URL(api.url).port);
    const slow = connect(port, "127.0.0.1");
    const received = once(slow, "data");
    for (const byte of "\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") {
      slow.write(byte);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(String(await received)).toMatch(/^HTTP\/1\.1 200/);
    slow.destroy();
  });

  test("a head that is too long is refused", async () => {
    const received = await send(`GET /healthz HTTP/1.1\r\nHost: x\r\nX: ${"x".repeat(20_000)}\r\n\r\n`);
    expect(answersIn(received)).toEqual(["HTTP/1.1 431 Request Header Fields Too Large"]);
  });

  test("a client that ends its side behind its request gets the answer; one without a request is let go", async () => {
    const ended = async (bytes: string) => {
      const socket = connect({ port: Number(new URL(api.url).port), host: "127.0.0.1", allowHalfOpen: true });
      socket.on("error", () => {});
      socket.end(bytes);
      let received = "";
      for await (const chunk of socket) received += chunk;
      return received;
    };
    expect(answersIn(await ended("GET /metrics HTTP/1.0\r\n\r\n"))).toEqual(["HTTP/1.1 200 OK"]);
    expect(await ended("GET /metrics HT")).toBe("");
  });

  test("whoever says nothing, or never ends its head, is let go after 5 s", async () => {
    const startMs = performance.now();
    const silent = send();
    const endless = send("GET /healthz HTTP/1.1\r\nX: ");
    expect(await Promise.all([silent, endless])).toEqual(["", ""]);
    const tookMs = performance.now() - startMs;
    expect(tookMs).toBeGreaterThan(4_500);
    expect(tookMs).toBeLessThan(30_000);
  });

  test("/metrics is rendered once a second, however many ask, and is fresh after that", async () => {
    const startMs = performance.now();
    const before = rendered;
    await Promise.all(Array.from({ length: 150 }, () => ask("/metrics")));
    await ask("/metrics", "HEAD");
    expect(rendered - before).toBeLessThanOrEqual(1 + (performance.now() - startMs) / 1_000);
    count.inc();
    await waitUntil(
      "a fresh text",
      async () => (await ask("/metrics")).body,
      (body) => body.includes("test_total 1"),
    );
  });

  test("with all connections in use, the oldest gives way to a new one", async () => {
    const port = Number(new URL(api.url).port);
    const idle = Array.from({ length: 500 }, () => connect(port, "127.0.0.1").on("error", () => {}));
    await Promise.all(idle.map((socket) => once(socket, "connect")));
    const first = once(idle[0]!, "close");
    expect((await ask("/healthz")).status).toBe(200);
    await first;
    expect(idle.filter((socket) => !socket.closed).length).toBeGreaterThan(400);
    for (const socket of idle) socket.destroy();
  });

  test("what is no HTTP, and a client that goes away, harm nobody", async () => {
    const { port } = new URL(api.url);
    const rubbish = connect(Number(port), "127.0.0.1", () => rubbish.write("rubbish\r\n\r\n"));
    const [answer] = await once(rubbish, "data");
    expect(String(answer)).toMatch(/^HTTP\/1.1 400/);
    const gone = connect(Number(port), "127.0.0.1", () => {
      gone.write("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
      gone.resetAndDestroy();
    });
    await once(gone, "close");
    expect((await ask("/healthz")).status).toBe(200);
  });

  test("health that fails costs its own request only", async () => {
    const broken = await startApi({
      host: "127.0.0.1",
      port: 0,
      health: () => {
        throw new Error("no");
      },
      metrics: render,
    });
    await expect(fetch(`${broken.url}/healthz`)).rejects.toThrow();
    expect((await fetch(`${broken.url}/metrics`)).status).toBe(200);
    await broken.close();
  });

  test.runIf(hasIpv6)("IPv6, and close with a connection open", async () => {
    const six = await startApi({ host: "::1", port: 0, health: () => health, metrics: render });
    expect(six.url).toMatch(/^http:\/\/\[::1\]:\d+$/);
    expect((await fetch(`${six.url}/healthz`)).status).toBe(200);
    const { port } = new URL(six.url);
    const idle = connect(Number(port), "::1");
    await once(idle, "connect");
    idle.on("error", () => {});
    await six.close();
    await expect(fetch(`${six.url}/healthz`)).rejects.toThrow();
  });

  test.each([
    ["127.0.0.1", () => Number(new URL(api.url).port), /EADDRINUSE/],
    ["192.0.2.1", () => 0, /EADDRNOTAVAIL/],
    ["no such host", () => 0, /ENOTFOUND|EAI_AGAIN/],
  ])("%s cannot be bound: the variables are named", async (host, port, cause) => {
    const failure = startApi({ host, port: port(), health: () => health, metrics: render });
    await expect(failure).rejects.toBeInstanceOf(ListenError);
    await expect(failure).rejects.toThrow(cause);
    await expect(failure).rejects.toThrow(/change API_HOST or API_PORT/);
  });
});
