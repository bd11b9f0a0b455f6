import type { Socket, TcpNetConnectOpts } from "node:net";
import WebSocket from "ws";
import { fairConnectOptions } from "../connect-options.ts";
import { FrameReader } from "./frame-reader.ts";
import { type LivenessOptions, watchOver } from "./liveness.ts";
import { type FeedTarget, feedTarget, refusalOf, withoutSecrets } from "./refusal.ts";

const handshakeTimeoutMs = 10_000;
/** How many redirects in a row are followed. */
const maxRedirects = 3;
/** How long the server has to answer our Close frame before the socket is destroyed. */
const closeTimeoutMs = 500;

export interface ConnectionOptions extends Omit<LivenessOptions, "onDead"> {
  /** May have user and password in it. */
  url: string;
  /** The value of the `Authorization` header, in place of user and password. */
  authorization?: string | null;
  userAgent: string;
  maxMessageBytes: number;
  /** Aborted: close the connection, or give up the handshake. */
  signal: AbortSignal;
  onOpen: () => void;
  /** Gets a view of memory that is used again when it returns. Must not throw. */
  onMessage: (message: Buffer) => void;
  onTooLarge: () => void;
}

/** How a connection ended. */
export interface Ending {
  reason: string;
  /** What the server asked for with `Retry-After`; 0 where it asked for nothing. */
  retryAfterMs: number;
  /** False where the handshake did not succeed. */
  wasOpen: boolean;
  /** Whether the server answered, and refused. */
  wasRefused: boolean;
}

/**
 * Makes one connection to a feed and reads it to its end, and follows redirects on the way to it. Resolves when it is
 * over; never rejects.
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

/** `redirect`: where to connect to in place of the target. */
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
  // The option `handshakeTimeout` of `ws` starts anew with each byte, so a server that trickles would hold us for ever.
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
  // Node.js takes a socket that comes later from the callback.
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
    // Invalid UTF-8 must not cost the connection: the parser replaces what it cannot decode.
    skipUTF8Validation: true,
    headers: { "User-Agent": userAgent, ...(authorization === null ? {} : { Authorization: authorization }) },
    createConnection: createConnection as unknown as WebSocket.ClientOptions["createConnection"],
  });
}
