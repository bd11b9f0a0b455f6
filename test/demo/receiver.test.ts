import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startWebhookReceiver, type WebhookReceiver } from "../../src/demo/receiver.ts";

describe("webhook receiver", () => {
  let receiver: WebhookReceiver;
  beforeEach(async () => {
    receiver = await startWebhookReceiver({ maxDeliveries: 3 });
  });
  afterEach(() => receiver.close());

  const post = (body: string, signal?: AbortSignal) =>
    fetch(receiver.url, { method: "POST", body, headers: { "X-Test": "1" }, signal: signal ?? null });

  test("keeps what came, as sent and parsed", async () => {
    expect((await post('{"a": 1}')).status).toBe(200);
    await post("not JSON");
    const [first, second] = receiver.deliveries;
    expect(first).toMatchObject({ method: "POST", path: "/", body: '{"a": 1}', json: { a: 1 } });
    expect(first!.headers["x-test"]).toBe("1");
    expect([second!.body, second!.json]).toEqual(["not JSON", undefined]);
  });

  test("keeps the last ones only, and counts all", async () => {
    for (let i = 0; i < 5; i++) await post(`${i}`);
    expect(receiver.deliveries.map(({ json }) => json)).toEqual([2, 3, 4]);
    expect(receiver.count).toBe(5);
  });

  test("waits for what is there and what is to come, and not forever", async () => {
    await post("1");
    expect((await receiver.waitFor(({ json }) => json === 1)).json).toBe(1);
    const coming = receiver.waitFor(({ json }) => json === 2);
    const third = receiver.waitForCount(3);
    await post("2");
    expect((await coming).json).toBe(2);
    await post("3");
    await third;
    await expect(receiver.waitFor(() => false, 10)).rejects.toThrow(
      "no such delivery within 10 ms; 3 arrived",
    );
  });

  test("answers as told, from then on", async () => {
    receiver.setBehaviour({ status: 503, headers: { "Retry-After": "7" }, body: "later" });
    const response = await post("1");
    expect([response.status, response.headers.get("retry-after"), await response.text()]).toEqual([
      503,
      "7",
      "later",
    ]);
    receiver.setBehaviour((_delivery, count) => (count === 2 ? 500 : 204));
    expect([(await post("2")).status, (await post("3")).status]).toEqual([500, 204]);
  });

  test("cuts the connection, or never answers", async () => {
    receiver.setBehaviour("close");
    await expect(post("1")).rejects.toThrow("fetch failed");
    receiver.setBehaviour("hang");
    const abort = new AbortController();
    const hanging = post("2", abort.signal);
    await receiver.waitForCount(2);
    receiver.setBehaviour(200);
    expect((await post("3")).status).toBe(200);
    abort.abort();
    await expect(hanging).rejects.toThrow("aborted");
  });

  test("close ends hanging requests too", async () => {
    receiver.setBehaviour("hang");
    const hanging = post("1").catch((error: Error) => error);
    await receiver.waitForCount(1);
    await receiver.close();
    expect(await hanging).toBeInstanceOf(Error);
    receiver = await startWebhookReceiver({ port: receiver.port });
    expect((await post("2")).status).toBe(200);
  });
});
