import { once } from "node:events";
import { createServer as createHttpServer, type IncomingMessage } from "node:http";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type ServerOptions, WebSocketServer } from "ws";
import { maskUrl } from "../../src/config/mask.ts";
import { type CertstreamSimulator, startCertstreamSimulator } from "../../src/demo/certstream.ts";
import { createWaiters } from "../../src/demo/waiters.ts";
import { FeedClient, type FeedClientOptions } from "../../src/feed/client.ts";
import { createMetrics } from "../../src/metrics.ts";

type Line = Record<string, unknown> & { msg: string };

/** A client whose log, messages and states are kept, and can be waited for. */
function startClient(url: string, options: Partial<FeedClientOptions> = {}) {
  const lines: Line[] = [];
  const messages: string[] = [];
  const states: string[] = [];
  const { changed, until } = createWaiters();
  const log = pino(
    { level: "debug" },
    {
      write(line: string) {
        lines.push(JSON.parse(line));
        changed();
      },
    },
  );
  const metrics = createMetrics({ version: "0", feeds: [] });
  const client: FeedClient = new FeedClient({
    url,
    name: maskUrl(url),
    userAgent: "certwatch/test",
    maxMessageBytes: 10_000,
    idleTimeoutSeconds: 0,
    onMessage: (message) => {
      const text = message.toString("utf8");
      messages.push(text);
      changed();
      return text.startsWith("update");
    },
    onStateChange: () => {
      states.push(client.state);
      changed();
    },
    log,
    metrics,
    ...options,
  });
  const ending = async (n = 1) => {
    const endings = () => lines.filter(({ retry_in_s }) => retry_in_s !== undefined);
    await until(() => endings().length >= n);
    return endings()[n - 1]!;
  };
  client.start();
  return { client, metrics, lines, messages, states, until, ending };
}

/** A server that does what the test says, not what a certstream server does. */
async function startServer(options: ServerOptions = {}): Promise<{ server: WebSocketServer; url: string }> {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", ...options });
  await once(server, "listening");
  return { server, url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

describe("FeedClient", () => {
  let simulator: CertstreamSimulator;
  let stop: () => Promise<void> = async () => {};
  beforeEach(async () => {
    simulator = await startCertstreamSimulator();
  });
  afterEach(async () => {
    await stop();
    await simulator.close();
  });
  const start = (options: Partial<FeedClientOptions> = {}, url = simulator.url) => {
    const started = startClient(url, options);
    stop = () => started.client.stop();
    return started;
  };

  test("gives every message as received, text, binary and in fragments; states are told in their order", async () => {
    const { until, messages, client, states } = start();
    await simulator.waitForClient();
    await simulator.sendRaw("text");
    await simulator.sendRaw(Buffer.from("binary"), { binary: true });
    await simulator.sendRaw("");
    await until(() => messages.length === 3);
    expect(messages).toEqual(["text", "binary", ""]);
    await client.stop();
    expect(states).toEqual(["connecting", "open", "stopped"]);
  });

  test("fragments are one message, also where the whole is too large", async () => {
    const { server, url } = await startServer();
    server.on("connection", (socket) => {
      socket.on("error", () => {});
      for (const part of ["a", "b", "c"]) socket.send(part, { fin: part === "c" });
      for (let i = 0; i < 11; i += 1) socket.send("x".repeat(1_000), { fin: i === 10 });
    });
    const { until, messages, ending, metrics } = start({}, url);
    await until(() => messages.length === 1);
    expect(messages).toEqual(["abc"]);
    expect(await ending()).toMatchObject({
      msg: "lost the feed",
      reason: expect.stringContaining("larger than"),
    });
    expect(metrics.feedCounts.refused.too_large).toBe(1);
    await stop();
    server.close();
  });

  test("a message of the maximum size passes, one byte more costs the connection, which comes back", async () => {
    const { until, messages, metrics } = start();
    await simulator.waitForClient();
    await simulator.sendRaw("x".repeat(10_000));
    await until(() => messages.length === 1);
    expect(metrics.feedCounts.refused.too_large).toBe(0);
    await simulator.sendRaw("x".repeat(10_001));
    await simulator.waitForClient(2);
    expect(metrics.feedCounts.refused.too_large).toBe(1);
    await simulator.sendRaw("next");
    await until(() => messages.length === 2);
  });

  test("credentials and query of the URL reach the server, decoded, and nobody else", async () => {
    const { server, url } = await startServer();
    const request = new Promise<IncomingMessage>((resolve) =>
      server.on("connection", (_socket, received) => resolve(received)),
    );
    const { client, until, lines } = start(
      {},
      `${url.replace("//", "//us%40er:p%3Ass@")}/full-stream?token=t0ken`,
    );
    const { url: path, headers } = await request;
    expect(path).toBe("/full-stream?token=t0ken");
    expect(headers.authorization).toBe(`Basic ${Buffer.from("us@er:p:ss").toString("base64")}`);
    expect(headers["user-agent"]).toBe("certwatch/test");
    await until(() => client.state === "open");
    expect(JSON.stringify(lines)).not.toMatch(/t0ken|p:ss|p%3Ass/);
    await client.stop();
    server.close();
  });

  /** A server that redirects as `locations` says, from path to path, and accepts the others. Tells what was asked. */
  async function startRedirecting(locations: Record<string, string>) {
    const asked: { path: string; authorization: string | undefined }[] = [];
    const sockets = new WebSocketServer({ noServer: true });
    const http = createHttpServer().listen(0, "127.0.0.1");
    http.on("upgrade", (request, socket, head) => {
      const path = request.url ?? "";
      asked.push({ path, authorization: request.headers.authorization });
      const location = locations[path];
      if (location === undefined) sockets.handleUpgrade(request, socket, head, () => {});
      else socket.end(`HTTP/1.1 302 Found\r\nLocation: ${location}\r\nContent-Length: 0\r\n\r\n`);
    });
    await once(http, "listening");
    const { port } = http.address() as AddressInfo;
    const close = async () => {
      await stop();
      for (const socket of sockets.clients) socket.terminate();
      http.close();
    };
    return { asked, url: `ws://127.0.0.1:${port}`, close };
  }

  test("redirects are followed, with the credentials, three at most", async () => {
    const { asked, url, close } = await startRedirecting({ "/1": "/2?x=y", "/2?x=y": "3", "/3": "/4" });
    const { until, client } = start({ authorization: "Bearer t0ken" }, `${url}/1`);
    await until(() => client.state === "open");
    expect(asked.map(({ path }) => path)).toEqual(["/1", "/2?x=y", "/3", "/4"]);
    expect(new Set(asked.map(({ authorization }) => authorization))).toEqual(new Set(["Bearer t0ken"]));
    await close();
  });

  test("a fourth redirect is refused by name, and the next attempt begins where it is configured to", async () => {
    const { asked, url, close } = await startRedirecting({ "/": "/" });
    const { ending } = start({}, `${url}/`);
    const { reason, level } = await ending();
    expect(reason).toBe(
      `the server redirects to ${url}/ (HTTP 302), after 3 redirects: no more are followed`,
    );
    expect([level, asked.length]).toEqual([50, 4]);
    await close();
  });

  test("a redirect to another server is not followed, and nothing is sent there", async () => {
    const other = await startRedirecting({});
    const { url, close } = await startRedirecting({ "/?key=t0ken": `${other.url}/?key=t0ken` });
    const { ending, lines } = start({ authorization: "Bearer s3cret" }, `${url}/?key=t0ken`);
    const { reason } = await ending();
    expect(reason).toContain(
      `redirects to ${other.url}/ (HTTP 302), which is not followed: it is another port`,
    );
    expect(JSON.stringify(lines)).not.toMatch(/t0ken|s3cret/);
    await close();
    await other.close();
    expect(other.asked).toEqual([]);
  });

  test("what a server repeats of the feed's secrets when it closes is not logged", async () => {
    const { server, url } = await startServer();
    server.on("connection", (socket) => socket.close(4_000, "no t0ken like that"));
    const { ending } = start({}, `${url}/?key=t0ken`);
    expect(await ending()).toMatchObject({
      reason: "the connection was closed (code 4000: no *** like that)",
    });
    await stop();
    server.close();
  });

  test.each([
    [{ status: 401 }, 0.5],
    [{ status: 403, headers: { "Retry-After": "0" } }, 0.5],
    [{ status: 429, headers: { "Retry-After": "7" } }, 7],
    [{ status: 429, headers: { "Retry-After": "100000" } }, 300],
    [{ status: 503, headers: { "Retry-After": "soon" } }, 0.5],
  ])("a refusal %j is told, and the wait after it is about %d s", async (refusal, seconds) => {
    simulator.refuse(refusal);
    const { ending, client, until, lines } = start();
    const { reason, retry_in_s, level } = await ending();
    expect(reason).toContain(`(HTTP ${refusal.status})`);
    expect(lines.map(({ msg }) => msg)).toEqual([expect.stringContaining("refuses this client")]);
    expect(level).toBe(50);
    expect(retry_in_s).toBeGreaterThanOrEqual(seconds / 2);
    expect(retry_in_s).toBeLessThanOrEqual(seconds);
    await until(() => client.state === "waiting");
    const before = performance.now();
    await client.stop(); // also in the middle of the wait, which may take minutes
    expect(performance.now() - before).toBeLessThan(60_000);
    expect(client.state).toBe("stopped");
  });

  test("a lasting refusal is logged once, and asked about again and again", async () => {
    simulator.refuse({ status: 403 });
    const { lines } = start();
    await simulator.waitForRefusal(3);
    expect(lines.map(({ msg }) => msg)).toEqual([expect.stringContaining("refuses this client")]);
    simulator.refuse(null);
    await simulator.waitForClient();
  });

  /** The wait after each of `count` connections that brought `sent` and were cut. */
  async function waitsAfter(sent: string, count: number): Promise<number[]> {
    const { server, url } = await startServer();
    server.on("connection", (socket) => socket.send(sent, () => socket.terminate()));
    const { ending, client } = start({}, url);
    const last = await ending(count);
    expect(last).toMatchObject({ msg: "lost the feed", level: 40 });
    const waits = await Promise.all(
      Array.from({ length: count }, async (_, i) => (await ending(i + 1)).retry_in_s),
    );
    await client.stop();
    server.close();
    return waits as number[];
  }

  test("a connection that brought a certificate update is replaced after the first back-off, however short it was", async () => {
    for (const seconds of await waitsAfter("update", 5)) expect(seconds).toBeLessThanOrEqual(0.5);
  });

  test("where connections bring none, heartbeats included, the waits grow", async () => {
    const waits = await waitsAfter("heartbeat", 4);
    expect(waits[2]).toBeGreaterThanOrEqual(1);
    expect(waits[3]).toBeGreaterThanOrEqual(2);
  });

  test("a server that answers no pings and sends nothing is left", async () => {
    const { ending, until, client } = start({ pingIntervalMs: 200 });
    await until(() => client.state === "open");
    simulator.freezeAll();
    expect(await ending()).toMatchObject({ reason: "no answer to a ping within 0.2 s" });
    await simulator.waitForClient(2);
  });

  test("a server that answers pings is kept, and so is one that only sends messages", async () => {
    const { server, url } = await startServer({ autoPong: false });
    let pings = 0;
    const pinged = new Promise<void>((resolve) => {
      server.on("connection", (socket) => {
        socket.on("ping", () => {
          pings += 1;
          if (pings === 3) resolve();
        });
        const feed = setInterval(() => socket.send("message"), 20);
        socket.on("close", () => clearInterval(feed));
      });
    });
    // Long: the server is in this process too, and may be held up with it.
    const talking = start({ pingIntervalMs: 1_000 }, url);
    const answering = startClient(simulator.url, { pingIntervalMs: 1_000 });
    await pinged;
    expect(talking.states).toEqual(["connecting", "open"]);
    expect(answering.states).toEqual(["connecting", "open"]);
    await Promise.all([talking.client.stop(), answering.client.stop()]);
    server.close();
  });

  test("what arrived while this process was paused is read before the feed is called silent", async () => {
    const { until, messages, states } = start({ idleTimeoutSeconds: 2 });
    await simulator.waitForClient();
    await simulator.sendRaw("first");
    await until(() => messages.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 700)); // a check has seen the first
    await new Promise((resolve) => setImmediate(resolve)); // after a pause from here on, timers come first
    // The server is in this process too: what it writes now is in the socket when the pause ends.
    void simulator.sendRaw("second");
    const endMs = performance.now() + 2_500;
    while (performance.now() < endMs);
    await until(() => messages.length === 2);
    expect(states).toEqual(["connecting", "open"]);
  });

  test("stops within its patience where the server is frozen, and while it is connecting", async () => {
    const { until, client } = start();
    await until(() => client.state === "open");
    simulator.freezeAll();
    await client.stop();
    expect(client.state).toBe("stopped");

    const mute = createServer(() => {}); // accepts, and never answers the upgrade
    await new Promise<void>((resolve) => mute.listen(0, "127.0.0.1", resolve));
    const accepted = new Promise((resolve) => mute.once("connection", resolve));
    const connecting = start({}, `ws://127.0.0.1:${(mute.address() as AddressInfo).port}/`);
    const socket = (await accepted) as Socket;
    await connecting.client.stop();
    expect(connecting.states).toEqual(["connecting", "stopped"]);
    socket.destroy();
    mute.close();
  });

  test("metrics follow the connection", async () => {
    const { metrics, client, until } = start();
    const value = async (name: string) => {
      const all = await metrics.registry.getMetricsAsJSON();
      return all.find((metric) => metric.name === name)?.values[0]?.value;
    };
    await until(() => client.state === "open");
    expect(await value("certwatch_feed_connected")).toBe(1);
    simulator.dropAll();
    await until(() => client.state === "waiting");
    expect(await value("certwatch_feed_connected")).toBe(0);
    expect(await value("certwatch_feed_reconnects_total")).toBe(1);
  });
});
