import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Payload } from "../../src/alerts/payload.ts";

/** One request that was read whole. */
export interface Request {
  headers: IncomingHttpHeaders;
  payload: Payload;
  receivedAtMs: number;
  /** Whether it was answered 2xx. */
  isAccepted: boolean;
}

/** Answers, or does not. True: it was accepted. */
export type Behaviour = (response: ServerResponse, request: Omit<Request, "isAccepted">) => boolean;

const endless = (response: ServerResponse, write: () => void) => {
  const timer = setInterval(write, 5);
  response.on("close", () => clearInterval(timer)).on("error", () => {});
};

/** How receivers misbehave. None of these accepts anything, but those that begin with 200: the status is the outcome. */
export const misbehaviours: Record<string, Behaviour> = {
  hanging: () => false,
  "answering 500": (response) => {
    response.writeHead(500).end("no");
    return false;
  },
  "answering 429 with Retry-After": (response) => {
    response.writeHead(429, { "Retry-After": "3" }).end();
    return false;
  },
  "answering 301": (response, { headers }) => {
    response.writeHead(301, { Location: `http://${headers.host}/moved` }).end();
    return false;
  },
  "answering 200 with a never-ending body": (response) => {
    const chunk = Buffer.alloc(16_384, "x");
    // Node.js sends the status with the first chunk: from then on it is accepted, even if the connection is cut.
    response.writeHead(200).write(chunk);
    endless(response, () => response.write(chunk));
    return true;
  },
  "answering 500 with a body that trickles": (response) => {
    response.writeHead(500, { "Content-Length": "1000000" });
    endless(response, () => response.write("x"));
    return false;
  },
  "answering 503 and closing in the middle of the body": (response) => {
    response.writeHead(503, { "Content-Length": "1000000" });
    response.write("x".repeat(1_000), () => response.destroy());
    return false;
  },
  "closing in the middle of the status line": (response) => {
    response.socket!.end("HTTP/1.1 20");
    return false;
  },
  "closing without an answer": (response) => {
    response.socket!.resetAndDestroy();
    return false;
  },
  "sending headers without end": (response) => {
    response.socket!.write("HTTP/1.1 200 OK\r\n");
    endless(response, () => response.socket?.write(`x-${Math.random()}: ${"y".repeat(100)}\r\n`));
    return false;
  },
  "sending 102 without end": (response) => {
    endless(response, () => response.socket?.write("HTTP/1.1 102 Processing\r\n\r\n"));
    return false;
  },
  "not speaking HTTP": (response) => {
    response.socket!.end("220 mail.example ESMTP\r\n");
    return false;
  },
};

export const accepting: Behaviour = (response) => {
  response.writeHead(200).end();
  return true;
};

/** A receiver on plain HTTP that can be switched off, and that behaves as it is told to each severity. */
export class ChaosReceiver {
  /** What has arrived on the path of the webhook, in order. */
  readonly requests: Request[] = [];
  /** Of certificates whose alert was answered 2xx. */
  readonly acceptedNames = new Set<string>();
  /** Requests on any other path: somebody followed a redirect. */
  strays = 0;
  info: Behaviour = accepting;
  suspicious: Behaviour = accepting;
  readonly #server = createServer((request, response) => void this.#receive(request, response));
  readonly #waiters = new Set<(request: Request) => void>();
  #port = 0;

  get url(): string {
    return `http://127.0.0.1:${this.#port}/hook`;
  }

  /** Listens, on the port that it had before. */
  async open(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject).listen(this.#port, "127.0.0.1", resolve);
    });
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Refuses connections, and cuts those that are there. */
  async shut(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  /** The first request that fits, there or to come. */
  async waitFor(fits: (request: Request) => boolean, timeoutMs = 60_000): Promise<Request> {
    return this.requests.find(fits) ?? (await this.#next(fits, timeoutMs));
  }

  /** Resolves when so many different names were accepted. */
  async waitUntilAccepted(names: number, timeoutMs: number): Promise<void> {
    if (this.acceptedNames.size < names) await this.#next(() => this.acceptedNames.size >= names, timeoutMs);
  }

  #next(fits: (request: Request) => boolean, timeoutMs: number): Promise<Request> {
    return new Promise((resolve, reject) => {
      const check = (request: Request) => {
        if (!fits(request)) return;
        clearTimeout(timer);
        this.#waiters.delete(check);
        resolve(request);
      };
      const timer = setTimeout(() => {
        this.#waiters.delete(check);
        const counts = `${this.requests.length} arrived, ${this.acceptedNames.size} names were accepted`;
        reject(new Error(`no such request in ${timeoutMs} ms; ${counts}`));
      }, timeoutMs);
      this.#waiters.add(check);
    });
  }

  async #receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer);
    } catch {
      return; // cut off
    }
    if (request.url !== "/hook") {
      this.strays += 1;
      response.writeHead(200).end();
      return;
    }
    const payload = JSON.parse(Buffer.concat(chunks).toString()) as Payload;
    const received = { headers: request.headers, payload, receivedAtMs: Date.now() };
    const answered = { ...received, isAccepted: this[payload.severity](response, received) };
    this.requests.push(answered);
    if (answered.isAccepted) this.acceptedNames.add(payload.all_sans[0]!);
    for (const check of [...this.#waiters]) check(answered);
  }
}
