import { connect, isIP, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import { FairSocket } from "../connect-options.ts";
import { type HostPort, isSocketFolder, unixSocketPath } from "./dsn.ts";
import { startupCode } from "./startup-codes.ts";

/** How long the cancel request may take. A working server takes much less; a frozen server must not keep us waiting. */
const patienceMs = 5_000;
const tlsAccepted = 0x53; // S

/**
 * The two numbers that identify a session to its server. The server sends both in BackendKeyData at the session's
 * start.
 */
export interface BackendKey {
  processId: number;
  secretKey: number;
}

/**
 * Asks the server, over a connection of its own, to end the statement that a session is running (PostgreSQL
 * documentation, "Canceling Requests in Progress"). Without this request the server notices that a client is gone only
 * when it next writes to the client, and sessions that wait for a lock would pile up. The request may fail; it ends
 * after five seconds at most.
 *
 * @param tls the TLS settings of the session, which the request uses as well.
 * @returns a promise that resolves when the request was sent or has failed.
 */
export function requestCancel(
  { host, port }: HostPort,
  tls: false | ConnectionOptions,
  key: BackendKey,
): Promise<void> {
  const socket = isSocketFolder(host)
    ? connect(unixSocketPath(host, port))
    : new FairSocket(patienceMs).connect(port, host);
  const timer = setTimeout(() => socket.destroy(), patienceMs);
  timer.unref();
  socket.unref();
  const over = new Promise<void>((resolve) => {
    socket
      .on("error", () => {})
      .on("close", () => {
        clearTimeout(timer);
        resolve();
      });
  });
  const request = message(startupCode.cancelRequest, key.processId, key.secretKey);
  socket.once("connect", () => {
    if (tls === false) socket.end(request);
    else encrypt(socket, tls, host, (encrypted) => encrypted.end(request));
  });
  return over;
}

function encrypt(
  socket: Socket,
  tls: ConnectionOptions,
  host: string,
  onSecure: (encrypted: Socket) => void,
): void {
  socket.once("data", (answer: Buffer) => {
    if (answer[0] !== tlsAccepted) {
      socket.destroy();
      return;
    }
    // `pg` makes `ssl.key` non-enumerable, so `{ ...tls }` drops it: copy it by name.
    const key = tls.key === undefined ? {} : { key: tls.key };
    const encrypted = connectTls({ ...tls, ...key, socket, host, servername: isIP(host) === 0 ? host : "" });
    encrypted.on("error", () => socket.destroy()).once("secureConnect", () => onSecure(encrypted));
  });
  socket.write(message(startupCode.sslRequest));
}

/**
 * Builds a message for the time before a session has begun: its length, then four bytes for each number, no type byte.
 */
function message(...numbers: number[]): Buffer {
  const bytes = Buffer.alloc(4 + 4 * numbers.length);
  bytes.writeInt32BE(bytes.length);
  for (const [i, number] of numbers.entries()) bytes.writeInt32BE(number, 4 + 4 * i);
  return bytes;
}
