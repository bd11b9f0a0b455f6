import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** One request that the receiver has read completely, whatever its answer was. */
export interface Delivery {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  /** The body as it was sent. A signature covers this text. */
  body: string;
  /** The parsed body; `undefined` if the body is not JSON. */
  json: unknown;
  receivedAtMs: number;
}

/** How the receiver handles a request: a status, an answer with headers, no answer, or a cut connection. */
export type Behaviour = number | Answer | "hang" | "close";

export interface Answer {
  status: number;
  headers?: Record<string, string>;
  body?: string;
}

/** One behaviour for all deliveries, or a function that chooses one; `count` is 1 for the first delivery. */
export type Respond = Behaviour | ((delivery: Delivery, count: number) => Behaviour);

export interface WebhookReceiver {
  url: string;
  port: number;
  /** The last deliveries, oldest first, at most `maxDeliveries`. */
  readonly deliveries: readonly Delivery[];
  /** The number of deliveries since the start, including deliveries that are no longer kept. */
  readonly count: number;
  /** Resolves with the first delivery, kept or to come, that `predicate` accepts; rejects after `timeoutMs`. */
  waitFor(predicate: (delivery: Delivery) => boolean, timeoutMs?: number): Promise<Delivery>;
  /** Resolves when `count` deliveries have arrived since the start; rejects after `timeoutMs`. */
  waitForCount(count: number, timeoutMs?: number): Promise<void>;
  /** Sets the behaviour for requests from now on. Requests that hang already do so until `close`. */
  setBehaviour(respond: Respond): void;
  /** Cuts every connection, including those that hang, and stops listening. */
  close(): Promise<void>;
}

/** Starts a webhook receiver on plain HTTP that takes any method and path, and answers 200 unless `respond` differs. */
export async function startWebhookReceiver({
  host = "127.0.0.1",
  port = 0,
  respond = 200 as Respond,
  maxDeliveries = 10_000,
  onDelivery = (_delivery: Delivery) => {},
} = {}): Promise<WebhookReceiver> {
  const deliveries: Delivery[] = [];
  const waiters = new Set<(delivery: Delivery) => void>();
  let count = 0;
  let current = respond;

  const server = createServer(async (request, response) => {
    const delivery = await readDelivery(request).catch(() => null);
    if (delivery === null) return;
    count++;
    deliveries.push(delivery);
    if (deliveries.length > maxDeliveries) deliveries.shift();
    answer(response, typeof current === "function" ? current(delivery, count) : current);
    onDelivery(delivery);
    for (const check of [...waiters]) check(delivery);
  });

  /** Resolves with the next delivery that `fits` accepts; rejects after `timeoutMs`. */
  const next = (fits: (delivery: Delivery) => boolean, timeoutMs: number) =>
    new Promise<Delivery>((resolve, reject) => {
      const timer = setTimeout(() => {
        waiters.delete(check);
        reject(new Error(`no such delivery within ${timeoutMs} ms; ${count} arrived in all`));
      }, timeoutMs);
      const check = (delivery: Delivery) => {
        if (!fits(delivery)) return;
        clearTimeout(timer);
        waiters.delete(check);
        resolve(delivery);
      };
      waiters.add(check);
    });

  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, resolve);
  });
  const address = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${address.port}/`,
    port: address.port,
    deliveries,
    get count() {
      return count;
    },
    async waitFor(predicate, timeoutMs = 30_000) {
      return deliveries.find(predicate) ?? (await next(predicate, timeoutMs));
    },
    async waitForCount(wanted, timeoutMs = 30_000) {
      if (count < wanted) await next(() => count >= wanted, timeoutMs);
    },
    setBehaviour(next) {
      current = next;
    },
    async close() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

async function readDelivery(request: IncomingMessage): Promise<Delivery> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks).toString("utf8");
  const { method = "", url: path = "", headers } = request;
  return { method, path, headers, body, json: parseJson(body), receivedAtMs: Date.now() };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function answer(response: ServerResponse, behaviour: Behaviour): void {
  if (behaviour === "hang") return;
  if (behaviour === "close") {
    response.socket?.destroy();
    return;
  }
  const {
    status,
    headers = {},
    body = "",
  } = typeof behaviour === "number" ? { status: behaviour } : behaviour;
  response.writeHead(status, headers).end(body);
}
