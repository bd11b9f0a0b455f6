import { once } from "node:events";
import { request } from "node:http";
import { connect } from "node:net";
import { networkInterfaces } from "node:os";
import { Counter, Registry } from "prom-client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ApiServer, type Health, ListenError, startApi } from "../src/http.ts";

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
  new Counter({ name: "test_total", help: "A test.", registers: [registry] });
  beforeAll(async () => {
    api = await startApi({ host: "127.0.0.1", port: 0, health: () => current, registry });
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

  test.each(["/", "/health", "/healthz/", "/metrics/x", "//metrics", "/HEALTHZ", "/..%2fmetrics"])(
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
      registry,
    });
    await expect(fetch(`${broken.url}/healthz`)).rejects.toThrow();
    expect((await fetch(`${broken.url}/metrics`)).status).toBe(200);
    await broken.close();
  });

  test.runIf(hasIpv6)("IPv6, and close with a connection open", async () => {
    const six = await startApi({ host: "::1", port: 0, health: () => health, registry });
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
    const failure = startApi({ host, port: port(), health: () => health, registry });
    await expect(failure).rejects.toBeInstanceOf(ListenError);
    await expect(failure).rejects.toThrow(cause);
    await expect(failure).rejects.toThrow(/change API_HOST or API_PORT/);
  });
});
