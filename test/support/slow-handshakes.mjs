// A server whose queue of connections is full when it has two that it did not take. Its parent stops it with SIGSTOP, so
// that it takes none, and Linux drops the first packet of each handshake that follows; the client repeats it after 1 s.
// It accepts upgrades and POSTs, and closes any other connection with the first bytes that come.
import { createHash } from "node:crypto";
import { createServer } from "node:http";

const server = createServer((request, response) => request.resume().on("end", () => response.end("ok")));
server.on("upgrade", (request, socket) => {
  const key = `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
  const accept = createHash("sha1").update(key).digest("base64");
  const head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"];
  socket.write(`${[...head, `Sec-WebSocket-Accept: ${accept}`].join("\r\n")}\r\n\r\n`);
});
server.on("clientError", (_error, socket) => socket.destroy());
server.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => process.send(server.address().port));
