import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";
import { Agent, type Dispatcher, request } from "undici";
import { fairConnector } from "../connect-options.ts";

/** undici publishes each request here when its headers go out, with the socket that they go out on. */
const sendChannel = "undici:client:sendHeaders";

export interface ConnectionOptions {
  /** The number of connections that are kept. */
  connections: number;
  timeoutSeconds: number;
}

/**
 * The connections to the receiver. They are kept for the next request. Any kept connection may have been closed by the
 * other side at the very moment when a request goes out on it: then the request is made once more, on a fresh connection.
 */
export class Connections {
  readonly #kept: Agent;
  /** Makes a connection of its own for each request. */
  readonly #fresh: Agent;
  /** How many bytes a connection had received when its last request went out. */
  readonly #receivedBefore = new WeakMap<Socket, number>();
  /** Errors of kept connections that were lost before a byte of the answer came. */
  readonly #unanswered = new WeakSet<object>();

  constructor({ connections, timeoutSeconds }: ConnectionOptions) {
    const options = {
      connections,
      connect: fairConnector(timeoutSeconds * 1000),
      // undici's own time-outs are off: the attempt has one time-out for all of it, which may be longer than theirs.
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
   * The body may arrive twice: a server can close a connection after it has read a request and before it has answered.
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

  /** Closes the connections. Requests under way fail at once. Can be called again. */
  async close(): Promise<void> {
    unsubscribe(sendChannel, this.#watch);
    await Promise.all([this.#kept.destroy(), this.#fresh.destroy()]);
  }

  #isUnanswered(error: unknown): boolean {
    return typeof error === "object" && error !== null && this.#unanswered.has(error);
  }

  /** The channel is one for the whole process: connections of others are watched as well, and nobody asks for them. */
  readonly #watch = (message: unknown): void => {
    const { socket } = message as { socket: Socket };
    if (!this.#receivedBefore.has(socket)) {
      // Before undici's own listener, which hands the error on.
      socket.prependListener("error", (error) => {
        const receivedBefore = this.#receivedBefore.get(socket)!;
        if (receivedBefore > 0 && socket.bytesRead === receivedBefore) this.#unanswered.add(error);
      });
    }
    this.#receivedBefore.set(socket, socket.bytesRead);
  };
}
