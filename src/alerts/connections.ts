import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";
import { Agent, type Dispatcher, request } from "undici";
import { fairConnector } from "../connect-options.ts";

/** The channel on which undici announces each request when it sends the headers, and the socket that it uses. */
const sendChannel = "undici:client:sendHeaders";

export interface ConnectionOptions {
  /** The greatest number of connections that are kept open. */
  connections: number;
  timeoutSeconds: number;
}

/**
 * The connections to the receiver, kept open for the next request. The receiver may close a kept connection at the very
 * moment when we send a request on it: then the request is sent a second time, on a new connection.
 */
export class Connections {
  readonly #kept: Agent;
  /** Makes a new connection for each request. */
  readonly #fresh: Agent;
  /** For each connection, how many bytes it had received when its last request was sent. */
  readonly #receivedBefore = new WeakMap<Socket, number>();
  /** Errors of kept connections that were lost before a byte of the answer came. */
  readonly #unanswered = new WeakSet<object>();

  constructor({ connections, timeoutSeconds }: ConnectionOptions) {
    const options = {
      connections,
      connect: fairConnector(timeoutSeconds * 1000),
      // undici's own time-outs are off: the attempt as a whole has one time-out, which may be longer than undici's.
      headersTimeout: 0,
      bodyTimeout: 0,
    };
    this.#kept = new Agent(options);
    this.#fresh = new Agent({ ...options, pipelining: 0 });
    subscribe(sendChannel, this.#watch);
  }

  /**
   * Posts a body. Rejects with the error of the connection, or when `signal` is aborted.
   *
   * The body may arrive twice: a server may close a connection after it has read a request and before it answers.
   */
  async post(
    url: string,
    options: { headers: Record<string, string>; body: string; signal: AbortSignal },
  ): Promise<Dispatcher.ResponseData> {
    const post = (dispatcher: Agent) => request(url, { ...options, method: "POST", dispatcher });
    try {
      return await post(this.#kept);
    } catch (error) {
      if (!this.#isUnanswered(error) || options.signal.aborted) throw error;
      return await post(this.#fresh);
    }
  }

  /** Closes the connections. Requests under way fail at once. Calling this twice is safe. */
  async close(): Promise<void> {
    unsubscribe(sendChannel, this.#watch);
    await Promise.all([this.#kept.destroy(), this.#fresh.destroy()]);
  }

  #isUnanswered(error: unknown): boolean {
    return typeof error === "object" && error !== null && this.#unanswered.has(error);
  }

  /** Notes unanswered errors. The channel is global: foreign connections are watched as well, which does no harm. */
  readonly #watch = (message: unknown): void => {
    const { socket } = message as { socket: Socket };
    if (!this.#receivedBefore.has(socket)) {
      // Our listener must run before undici's own, which passes the error on to the caller.
      socket.prependListener("error", (error) => {
        const receivedBefore = this.#receivedBefore.get(socket)!;
        if (receivedBefore > 0 && socket.bytesRead === receivedBefore) this.#unanswered.add(error);
      });
    }
    this.#receivedBefore.set(socket, socket.bytesRead);
  };
}
