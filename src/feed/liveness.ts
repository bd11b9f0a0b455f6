import WebSocket from "ws";

/** The default time between two pings, which ask the server whether it is still there. */
export const defaultPingIntervalMs = 20_000;

export interface LivenessOptions {
  pingIntervalMs: number;
  /** How long a feed that delivered before may be silent before `onDead` is called; 0: a silent feed is left alone. */
  idleTimeoutSeconds: number;
  /** Whether a message came since the last call. */
  takeReceived: () => boolean;
  /** Whether this feed has ever brought a message, on this connection or an earlier one. */
  hasDelivered: () => boolean;
  /** Called with the reason when the connection has to be given up. */
  onDead: (problem: string) => void;
}

/**
 * Pings the server, and calls `onDead` when neither a pong nor a message comes before the next ping, or when a feed
 * that delivered before brings no message for `idleTimeoutSeconds` (certstream-server-go sends no heartbeats).
 *
 * @returns the timer; the caller clears it when the connection is over.
 */
export function watchOver(
  socket: WebSocket,
  { pingIntervalMs, idleTimeoutSeconds, takeReceived, hasDelivered, onDead }: LivenessOptions,
): NodeJS.Timeout {
  const idleMs = idleTimeoutSeconds * 1000;
  const checkMs = Math.max(Math.min(pingIntervalMs, idleMs === 0 ? pingIntervalMs : idleMs) / 4, 10);
  let lastMessageMs = performance.now();
  let lastPingMs = performance.now();
  let isAnswered = true;
  socket.on("pong", () => {
    isAnswered = true;
  });
  const check = () => {
    if (socket.readyState !== WebSocket.OPEN) return;
    const nowMs = performance.now();
    if (takeReceived()) {
      lastMessageMs = nowMs;
      isAnswered = true;
    }
    if (idleMs > 0 && hasDelivered() && nowMs - lastMessageMs > idleMs) {
      onDead(`no message for ${idleTimeoutSeconds} s (FEED_IDLE_TIMEOUT_S)`);
    } else if (nowMs - lastPingMs >= pingIntervalMs - checkMs / 2) {
      if (!isAnswered) {
        onDead(`no answer to a ping within ${pingIntervalMs / 1000} s`);
        return;
      }
      isAnswered = false;
      lastPingMs = nowMs;
      socket.ping();
    }
  };
  // After a pause of this process, timers run before sockets are read. `setImmediate` lets the socket be read first, so
  // that a message which waits in the socket counts before the connection is called dead.
  return setInterval(() => setImmediate(check), checkMs);
}
