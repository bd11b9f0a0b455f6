import type { Socket, TcpNetConnectOpts } from "node:net";
import WebSocket from "ws";
import { fairConnectOptions } from "../connect-options.ts";
import { FrameReader } from "./frame-reader.ts";
import { type LivenessOptions, watchOver } from "./liveness.ts";
import { type FeedTarget, feedTarget, refusalOf, withoutSecrets } from "./refusal.ts";

const handshakeTimeoutMs = 10_000;
/** How many redirects in a row are followed. */
const maxRedirects = 3;
/** How long the server may take to answer our Close frame before the socket is destroyed. */
const closeTimeoutMs = 500;

export interface ConnectionOptions extends Omit<LivenessOptions, "onDead"> {
  /** The feed's URL. May contain user and password. */
  url: string;
  /** The value of the `Authorization` header, used in place of user and password. */
  authorization?: string | null;
  userAgent: string;
  maxMessageBytes: number;
  /** Aborting this signal closes the connection, or gives up the handshake. */
  signal: AbortSignal;
  onOpen: () => void;
  /** Gets each message as a view of memory that is used again when this function returns. Must not throw. */
  onMessage: (message: Buffer) => void;
  onTooLarge: () => void;
}

/** How a connection ended. */
export interface Ending {
  reason: string;
  /** The wait that the server asked for with `Retry-After`; 0 if the answer has no such header. */
  retryAfterMs: number;
  /** False if the handshake did not succeed. */
  wasOpen: boolean;
  /** Whether the server answered the handshake with a refusal. */
  wasRefused: boolean;
}

/**
 * Connects to a feed, following redirects, and reads the connection to its end. Resolves when the connection is over;
 * never rejects.
 */
export async function serveConnection(options: ConnectionOptions): Promise<Ending> {
  const target = feedTarget(options.url, options.authorization ?? null);
  for (let redirects = 0; ; redirects += 1) {
    const { redirect, ...ending } = await serveTarget(options, target);
    const reason = withoutSecrets(target, ending.reason);
    if (redirect === null || options.signal.aborted) return { ...ending, reason };
    if (redirects === maxRedirects)
      return { ...ending, reason: `${reason}, after ${maxRedirects} redirects: no more are followed` };
    target.url = redirect;
  }
}

/** Like `serveConnection`, without redirects. `redirect`: the URL to connect to instead; `null`: there is none. */
function serveTarget(
  options: ConnectionOptions,
  target: FeedTarget,
): Promise<Ending & { redirect: URL | null }> {
  const { maxMessageBytes, onMessage, signal } = options;
  const frames = new FrameReader({ maxMessageBytes, onMessage });
  const socket = openSocket(options, target, frames);
  const ending = {
    reason: "",
    retryAfterMs: 0,
    wasOpen: false,
    wasRefused: false,
    redirect: null as URL | null,
  };
  const giveUp = (reason: string) => {
    ending.reason = reason;
    socket.terminate();
  };
  const onStop = () => {
    socket.close(1000);
    setTimeout(() => socket.terminate(), closeTimeoutMs).unref();
  };
  signal.addEventListener("abort", onStop, { once: true });
  // The option `handshakeTimeout` of `ws` starts again with each byte, so a server that sends one byte now and then
  // would hold us for ever.
  const handshakeTimer = setTimeout(() => {
    giveUp(`the handshake took longer than ${handshakeTimeoutMs / 1000} s`);
  }, handshakeTimeoutMs);
  const watch = watchOver(socket, { ...options, onDead: giveUp });
  socket.on("open", () => {
    clearTimeout(handshakeTimer);
    ending.wasOpen = true;
    options.onOpen();
    frames.open();
  });
  // The frame reader leaves fragmented and very long messages to `ws`.
  socket.on("message", (message) => onMessage(message as Buffer));
  socket.on("unexpected-response", (request, response) => {
    Object.assign(ending, refusalOf(target, response.statusCode ?? 0, response.headers), {
      wasRefused: true,
    });
    socket.terminate();
    request.destroy();
  });
  socket.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH") {
      options.onTooLarge();
      ending.reason = `a message was larger than FEED_MAX_MESSAGE_BYTES=${maxMessageBytes}`;
    }
    ending.reason ||= error.message || error.code || "the connection failed";
  });
  return new Promise((resolve) => {
    socket.on("close", (code, words) => {
      clearTimeout(handshakeTimer);
      clearInterval(watch);
      signal.removeEventListener("abort", onStop);
      const said = words.length > 0 ? `: ${words.toString("utf8")}` : "";
      ending.reason ||= `the connection was closed (code ${code}${said})`;
      resolve(ending);
    });
  });
}

function openSocket(
  { userAgent, maxMessageBytes }: ConnectionOptions,
  { url, authorization }: FeedTarget,
  frames: FrameReader,
): WebSocket {
  const withTls = url.protocol === "wss:";
  // The socket is not returned but given to the callback, because it is not there yet: Node.js accepts both.
  const createConnection = (
    options: TcpNetConnectOpts,
    callback: (error: unknown, socket?: Socket) => void,
  ) => {
    fairConnectOptions(options.host ?? "localhost", handshakeTimeoutMs).then(
      (fair) => callback(null, frames.connect({ ...options, ...fair }, withTls)),
      callback,
    );
  };
  return new WebSocket(url, {
    perMessageDeflate: false,
    maxPayload: maxMessageBytes,
    // Invalid UTF-8 must not end the connection: the parser replaces bytes that it cannot decode.
    skipUTF8Validation: true,
    headers: { "User-Agent": userAgent, ...(authorization === null ? {} : { Authorization: authorization }) },
    createConnection: createConnection as unknown as WebSocket.ClientOptions["createConnection"],
  });
}
