import type { Server as HttpServer } from "node:http";
import { createServer, type Server, type Socket } from "node:net";
import { Duplex } from "node:stream";
import { Turns } from "./turns.ts";

/**
 * Above this number of connections, the oldest gives way to a new one. Many, so that an honest client gets its answer
 * before a flood of connections pushes it out; few enough for a process that may open 1,024 files.
 */
const maxConnections = 500;
/** The time that a client has for the head of its request, and then again for taking the answer. */
const patienceMs = 5_000;
/** A head that is longer goes to the HTTP parser as it is, which refuses it (`http.maxHeaderSize`). */
const maxHeadBytes = 16_384;
/** The head of a request, with the empty line behind it. llhttp, the parser, passes over empty lines before it. */
const headPattern = /^[\r\n]*[^\r\n].*?\n\r?\n/s;

/**
 * Returns a server that reads the head of *one* request from each connection, and hands it to `http`. Everything behind
 * the head (a body, further requests) is dropped unread by the HTTP parser, which would otherwise make thousands of
 * requests from one packet before anybody can stop it. `http` must close each connection after its answer.
 *
 * Connections are bounded in number and in time. If all are in use, the one that has waited longest gives way, so that
 * a probe gets in.
 */
export function createPort(http: HttpServer): { server: Server; close: () => Promise<void> } {
  const turns = new Turns();
  /** The oldest first. */
  const connections = new Set<Socket>();
  // Half open: a client may end its side behind its request, and still gets the answer.
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    if (connections.size >= maxConnections) drop(connections.values().next().value!);
    connections.add(socket);
    socket.on("error", () => {}); // the client went away
    const deadline = setTimeout(() => drop(socket), patienceMs);
    socket.once("close", () => {
      clearTimeout(deadline);
      connections.delete(socket);
    });
    const onRequest = (head: Buffer) => {
      deadline.refresh();
      http.emit("connection", connectionWith(head, socket));
    };
    readRequest(socket, turns, onRequest).catch(() => drop(socket));
  });
  const drop = (socket: Socket) => {
    connections.delete(socket);
    socket.destroy();
  };
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      for (const socket of connections) socket.destroy();
    });
  return { server, close };
}

/** Reads the head of a request, calls `onRequest` with it, and drops what comes behind it until the client ends. */
async function readRequest(socket: Socket, turns: Turns, onRequest: (head: Buffer) => void): Promise<void> {
  let head: Buffer | null = Buffer.alloc(0);
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    await turns.next();
    if (head === null) continue;
    head = Buffer.concat([head, chunk]);
    const length = headPattern.exec(head.toString("latin1"))?.[0].length;
    if (length === undefined && head.length <= maxHeadBytes) continue;
    onRequest(head.subarray(0, length));
    head = null;
  }
  if (head !== null) socket.destroy();
}

/** A connection for `node:http` from which it can read these bytes and no more. */
function connectionWith(head: Buffer, socket: Socket): Duplex {
  const connection = new Duplex({
    read() {},
    write: (chunk, encoding, done) => socket.write(chunk, encoding, done),
    final: (done) => socket.end(done),
    destroy(error, done) {
      socket.destroy();
      done(error);
    },
  });
  connection.push(head);
  socket.once("close", () => connection.destroy());
  return connection;
}
