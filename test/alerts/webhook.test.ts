import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { Worker } from "node:worker_threads";
import { Webhook } from "standardwebhooks";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Payload, toPayload } from "../../src/alerts/payload.ts";
import { WebhookSender, type WebhookTarget } from "../../src/alerts/webhook.ts";

import { startWebhookReceiver, type WebhookReceiver } from "../../src/demo/receiver.ts";

const secret = `whsec_${Buffer.alloc(32, 7).toString("base64")}`;

const payload: Payload = toPayload({
  id: 42,
  severity: "suspicious",
  eventType: "certificate.suspicious",
  incidentKey: "cd".repeat(16),
  issuanceId: "ab".repeat(32),
  matchBasis: "none",
  reason: "This certificate is not in the inventory.",
  payload: { matched_entries: ["example.org"], matched_sans: ["login.example.org"], seen_at: 1 },
});

describe("WebhookSender", () => {
  let receiver: WebhookReceiver;
  const senders: WebhookSender[] = [];
  beforeEach(async () => {
    receiver = await startWebhookReceiver();
  });
  afterEach(async () => {
    for (const sender of senders.splice(0)) await sender.close();
    await receiver.close();
  });

  function open(config: Partial<WebhookTarget> = {}): WebhookSender {
    const defaults = {
      url: receiver.url,
      timeoutSeconds: 10,
      secrets: [],
      authorization: null,
      maxAttempts: 3,
    };
    const sender = new WebhookSender({ ...defaults, ...config }, { version: "1.2.3", connections: 4 });
    senders.push(sender);
    return sender;
  }

  test("posts the payload as JSON, with who sends it and an idempotency key, and nothing more", async () => {
    const odd = { name: "\u00e9\u2028", absent: null };
    expect(await open().send(odd as never, "id_1")).toEqual({ kind: "delivered" });
    const [{ method, headers, json }] = receiver.deliveries as [(typeof receiver.deliveries)[0]];
    expect([method, json]).toEqual(["POST", odd]);
    expect(headers).toMatchObject({
      "content-type": "application/json",
      "user-agent": "certwatch/1.2.3",
      "webhook-id": "id_1",
    });
    for (const name of ["authorization", "webhook-signature", "webhook-timestamp"])
      expect(headers[name]).toBeUndefined();
  });

  test.each([secret, secret.replace("whsec_", ""), secret.replace(/=+$/, "")])(
    "signs as Standard Webhooks has it, also with a secret written as %s",
    async (written) => {
      await open({ secrets: [written], authorization: "Bearer x" }).send({ a: "\u00e9" } as never, "id_2");
      const { body, headers } = receiver.deliveries[0]!;
      expect(new Webhook(secret).verify(body, headers as Record<string, string>)).toEqual({ a: "\u00e9" });
      expect(() => new Webhook(secret).verify(`${body} `, headers as Record<string, string>)).toThrow();
      expect(headers.authorization).toBe("Bearer x");
    },
  );

  test("two secrets give two signatures, and each verifies", async () => {
    const other = `whsec_${Buffer.alloc(32, 8).toString("base64")}`;
    await open({ secrets: [other, secret] }).send(payload, "id");
    const { body, headers } = receiver.deliveries[0]!;
    expect(headers["webhook-signature"]).toMatch(/^v1,\S+ v1,\S+$/);
    for (const one of [secret, other]) {
      expect(new Webhook(one).verify(body, headers as Record<string, string>)).toEqual(payload);
    }
  });

  describe("a receiver that answers 413", () => {
    const large = { ...payload, all_sans: Array.from({ length: 6_000 }, (_, i) => `${i}.example.net`) };
    /** Takes bodies up to so many bytes. */
    const limitTo = (maxBytes: number) =>
      receiver.setBehaviour(({ body }) => (Buffer.byteLength(body) > maxBytes ? 413 : 200));
    const sizes = () => receiver.deliveries.map(({ body }) => Buffer.byteLength(body));

    test.each([
      [100 * 1024, 2, "64k", 64_000],
      [16_384, 3, "8k", 8_000],
    ])(
      "of %d bytes gets it again at once, signed, with the same id",
      async (limit, requests, reducedTo, most) => {
        limitTo(limit);
        const sender = open({ secrets: [secret] });
        expect(await sender.send(large, "id_7")).toEqual({ kind: "delivered", reducedTo });
        expect(receiver.count).toBe(requests);
        for (const { body, headers } of receiver.deliveries) {
          expect(new Webhook(secret).verify(body, headers as Record<string, string>)).toMatchObject({
            alert_id: 42,
            matched_sans: ["login.example.org"],
          });
          expect(headers["webhook-id"]).toBe("id_7");
        }
        expect(sizes().at(-1)).toBeLessThanOrEqual(most);
        const last = receiver.deliveries.at(-1)!.json as Payload;
        expect(last.names_truncated).toBe(6_000 - last.all_sans.length);
      },
    );

    test("is not offered such a size again for a day; what is smaller goes as it is", async () => {
      limitTo(100 * 1024);
      const sender = open();
      await sender.send(large, "id");
      expect(await sender.send(large, "id")).toEqual({ kind: "delivered", reducedTo: "64k" });
      expect(await sender.send(payload, "id")).toEqual({ kind: "delivered" });
      const half = { ...large, all_sans: large.all_sans.slice(0, 4_000) };
      expect(await sender.send(half, "id")).toEqual({ kind: "delivered" });
      expect(receiver.count).toBe(5);
      vi.spyOn(performance, "now").mockReturnValue(performance.now() + 24 * 3_600_000);
      await sender.send(large, "id");
      vi.restoreAllMocks();
      expect(receiver.count).toBe(7);
    });

    test("to everything gets each size once in an attempt, and then the smallest alone", async () => {
      receiver.setBehaviour(413);
      const sender = open();
      const error = "the receiver answered 413";
      expect(await sender.send(large, "id")).toEqual({ kind: "failed", error, reducedTo: "8k" });
      expect(sizes()).toEqual([...sizes()].sort((a, b) => b - a));
      expect(receiver.count).toBe(3);
      expect(await sender.send(large, "id")).toMatchObject({ kind: "failed", error });
      expect(await sender.send(payload, "id")).toEqual({ kind: "failed", error });
      expect(receiver.count).toBe(5);
    });

    test("and then is silent has had one time-out for all of it", async () => {
      receiver.setBehaviour((_, count) => (count === 1 ? 413 : "hang"));
      const startedMs = performance.now();
      const result = await open({ timeoutSeconds: 2 }).send(large, "id");
      expect(result).toEqual({ kind: "failed", error: "no answer within 2 s", reducedTo: "64k" });
      expect(performance.now() - startedMs).toBeGreaterThan(1_900);
      expect(receiver.count).toBe(2);
    });

    test("without reading the body gets it again, too", async () => {
      let requests = 0;
      const server = createServer((request, response) => {
        requests += 1;
        if (Number(request.headers["content-length"]) > 64_000) {
          response.writeHead(413, { Connection: "close" }).end(() => request.socket.destroy());
        } else request.resume().on("end", () => response.writeHead(200).end());
      });
      await once(server.listen(0, "127.0.0.1"), "listening");
      const sender = open({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` });
      const huge = { ...large, all_sans: large.all_sans.map((name) => name.padStart(150, "x")) };
      expect(await sender.send(huge, "id")).toEqual({ kind: "delivered", reducedTo: "64k" });
      expect(requests).toBe(2);
      await sender.close();
      await new Promise((resolve) => server.close(resolve));
    });
  });

  test.each([200, 201, 202, 204, 299])("%d is success", async (status) => {
    receiver.setBehaviour(status);
    expect(await open().send(payload, "id")).toEqual({ kind: "delivered" });
  });

  test.each([300, 304, 400, 401, 404, 410, 500, 502])(
    "%d is failure, whatever it says about waiting",
    async (status) => {
      receiver.setBehaviour({ status, headers: { "Retry-After": "30" } });
      expect(await open().send(payload, "id")).toEqual({
        kind: "failed",
        error: `the receiver answered ${status}`,
      });
    },
  );

  test.each([301, 302, 307, 308])(
    "a redirect (%d) is not followed; the error says where to",
    async (status) => {
      receiver.setBehaviour({ status, headers: { Location: `${receiver.url}elsewhere?token=x` } });
      const error = `the receiver answered ${status}, redirecting to ${receiver.url.slice(0, -1)}`;
      expect(await open().send(payload, "id")).toEqual({ kind: "failed", error });
      expect(receiver.deliveries.map(({ path }) => path)).toEqual(["/"]);
    },
  );

  test.each([
    [429, "7", 7],
    [503, "59", 59],
    [503, "3600", 60],
    [429, "-1", null],
    [429, "tomorrow", null],
    [429, null, null],
  ])("%d with Retry-After %s says later, and names %d s", async (status, header, retryAfterSeconds) => {
    const headers: Record<string, string> = header === null ? {} : { "Retry-After": header };
    receiver.setBehaviour({ status, headers });
    const error = `the receiver answered ${status}`;
    expect(await open().send(payload, "id")).toEqual({ kind: "later", error, retryAfterSeconds });
  });

  test.each<Record<string, string>>([{}, { "Retry-After": "soon" }])(
    "503 with %j is failure",
    async (headers) => {
      receiver.setBehaviour({ status: 503, headers });
      expect(await open().send(payload, "id")).toMatchObject({ kind: "failed" });
    },
  );

  test.each([0.3, 0.2503, 0.0015])(
    "a receiver that hangs is given up after the timeout of %d s",
    async (timeoutSeconds) => {
      receiver.setBehaviour("hang");
      expect(await open({ timeoutSeconds }).send(payload, "id")).toEqual({
        kind: "failed",
        error: `no answer within ${timeoutSeconds} s`,
      });
    },
  );

  test.each<[string, string, Record<string, string>, string]>([
    ["one line", "no_text", {}, ": no_text"],
    ["JSON in lines", '{\n  "code": 404\n}\n', {}, ': { "code": 404 }'],
    ["what a terminal acts on", "a\u001b[31mb\u202e\u0007", {}, ": a\\u001b[31mb\\u202e\\u0007"],
    ["200 characters", "é".repeat(200), {}, `: ${"é".repeat(200)}`],
    ["more", "é".repeat(201), {}, `: ${"é".repeat(200)}…`],
    ["more than is read", "x".repeat(1_000_000), {}, `: ${"x".repeat(200)}…`],
    ["escapes that do not fit", `${"x".repeat(195)}\u0000y`, {}, `: ${"x".repeat(195)}…`],
    ["bytes that are no text", "\ufffd", {}, ": \ufffd"],
    ["nothing", " \n", {}, ""],
    ["something compressed", "\u001f\u008b", { "Content-Encoding": "gzip" }, ""],
    ["a relative redirect", "", { Location: "/elsewhere" }, ", redirecting to http://127.0.0.1"],
    ["a redirect without a host", "", { Location: "mailto:root" }, ", redirecting to mailto:"],
    ["a redirect to nowhere", "", { Location: "https://" }, ""],
    [
      "a redirect to a secret",
      "",
      { Location: "https://3f9a-Kq7.example/3f9a" },
      ", redirecting to https:/***.example",
    ],
  ])("the error quotes the beginning of an answer: %s", async (_, body, headers, quotation) => {
    receiver.setBehaviour({ status: headers.Location === undefined ? 400 : 302, headers, body });
    const result = await open({ url: `${receiver.url}3f9a-Kq7` }).send(payload, "id");
    const error = (result as { error: string }).error.replace(/(127.0.0.1):\d+/, "$1");
    expect(error.replace(/^the receiver answered \d+/, "")).toBe(quotation);
  });

  test("what an answer repeats of path, query, authorization and secret is masked, before the quotation is cut", async () => {
    receiver.setBehaviour(({ path, headers }) => ({
      status: 404,
      body: `${"x".repeat(150)} ${path} ${headers.authorization} ${secret} ${Buffer.from("user:pass-3f9a")} ${"x".repeat(200)}`,
    }));
    const [url, authorization] = [
      `${receiver.url}hook/id-3f9a?key=k-3f9a`,
      `Basic ${btoa("user:pass-3f9a")}`,
    ];
    expect(await open({ url, authorization, secrets: [secret] }).send(payload, "id")).toMatchObject({
      error: expect.stringMatching(/: x{150} \/\*{3}\?\*{3} Basic \*{3} whsec_\*{3} user:\*{3} x+…$/),
    });
  });

  test("a time-out that fires late finds the answer that came in time", async () => {
    // The server needs a thread of its own: this one is blocked meanwhile.
    const server = new Worker(
      `const { createServer } = require("node:http");
       const { parentPort } = require("node:worker_threads");
       const server = createServer((request, response) => {
         request.resume().on("end", () => {
           parentPort.postMessage("received");
           setTimeout(() => response.writeHead(200).end(), 100);
         });
       });
       server.listen(0, "127.0.0.1", () => parentPort.postMessage(server.address().port));`,
      { eval: true },
    );
    const [port] = await once(server, "message");
    const result = open({ url: `http://127.0.0.1:${port}/`, timeoutSeconds: 1 }).send(payload, "id");
    await once(server, "message");
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_000);
    expect(await result).toEqual({ kind: "delivered" });
    await server.terminate();
  });

  test("a connection that is cut, and one that is refused, are failures with a reason", async () => {
    receiver.setBehaviour("close");
    expect(await open().send(payload, "id")).toMatchObject({
      kind: "failed",
      error: expect.stringContaining("UND_ERR_SOCKET"),
    });
    const { url } = receiver;
    await receiver.close();
    expect(await open({ url }).send(payload, "id")).toMatchObject({
      kind: "failed",
      error: expect.stringContaining("ECONNREFUSED"),
    });
    const named = url.replace("127.0.0.1", "localhost"); // several addresses: an error without a message of its own
    expect(await open({ url: named }).send(payload, "id")).toMatchObject({
      error: expect.stringMatching(/ECONNREFUSED: \w+/),
    });
    receiver = await startWebhookReceiver();
  });

  test("closing ends what is under way at once, and nothing is sent any more", async () => {
    receiver.setBehaviour("hang");
    const sender = open();
    const running = sender.send(payload, "id");
    await receiver.waitForCount(1);
    await sender.close();
    expect(await running).toMatchObject({ kind: "failed" });
    expect(await sender.send(payload, "id")).toMatchObject({ kind: "failed" });
    await sender.close();
    expect(receiver.count).toBe(1);
  });

  test("the status is the outcome, whatever becomes of the body", async () => {
    const sockets = new Set<Socket>();
    let answers = 0;
    const server = createServer((request, response) => {
      request.resume();
      answers += 1;
      response.writeHead(200, { "Content-Length": "1000000000" });
      const cut = answers === 2;
      response.write("x".repeat(answers === 1 ? 10 : 200_000), () => cut && response.socket?.destroy());
    });
    server.on("connection", (socket) => sockets.add(socket));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const sender = open({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` });
    for (let i = 0; i < 3; i += 1) expect(await sender.send(payload, "id")).toEqual({ kind: "delivered" });
    for (const socket of sockets) socket.destroy();
    server.close();
  });

  test("connections are kept, and no more than configured are opened", async () => {
    const ports = new Set<number>();
    const server = createServer((request, response) => {
      ports.add(request.socket.remotePort!);
      request.resume();
      request.on("end", () => setImmediate(() => response.writeHead(200).end("thank you")));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const sender = open({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` });
    const results = await Promise.all(
      Array.from({ length: 40 }, (_, i) => sender.send({ ...payload, alert_id: i }, `id_${i}`)),
    );
    expect(results).toEqual(Array(40).fill({ kind: "delivered" }));
    expect(ports.size).toBeLessThanOrEqual(4);
    await sender.close();
    await new Promise((resolve) => server.close(resolve));
  });
});
