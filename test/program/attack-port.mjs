// Attacks an HTTP port until it is killed: `node attack-port.mjs ATTACK PORT`. A process of its own, so that it costs
// neither the feed nor the probes of the test any time.
import { connect } from "node:net";

const [attack, port] = process.argv.slice(2);
const request = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

/** Keeps `count` connections open: each that ends is opened again. `onOpen` gets each. */
function keepOpen(count, onOpen) {
  const open = () => {
    const socket = connect(Number(port), "127.0.0.1");
    socket.on("error", () => {});
    socket.once("close", () => setImmediate(open));
    socket.once("connect", () => onOpen(socket));
  };
  for (let i = 0; i < count; i++) open();
}

/** Writes `first`, then `bytes` for as long as the connection lives, as fast as the server takes them. */
const flood =
  (bytes, first = "") =>
  (socket) => {
    const more = () => {
      if (!socket.destroyed) socket.write(bytes, () => setImmediate(more));
    };
    socket.resume();
    socket.write(first, more);
  };

const attacks = {
  "pipelined requests, answers read": () => keepOpen(20, flood(Buffer.from(request.repeat(1_500)))),
  "pipelined requests, answers left": () =>
    keepOpen(50, (socket) => socket.pause().write(request.repeat(1_500))),
  "1,000 idle connections": () => keepOpen(1_000, () => {}),
  "300 heads that never end": () =>
    keepOpen(300, (socket) => {
      socket.write("GET /healthz HTTP/1.1\r\nX: ");
      const drip = setInterval(() => socket.write("x"), 50);
      socket.once("close", () => clearInterval(drip));
    }),
  "connections that come and go": () => keepOpen(20, (socket) => socket.end(request).resume()),
  "connections that are reset": () =>
    keepOpen(20, (socket) => {
      socket.write(request);
      socket.resetAndDestroy();
    }),
  "bodies without end": () =>
    keepOpen(
      20,
      flood(
        Buffer.alloc(64_000, "x"),
        "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
      ),
    ),
};

attacks[attack]();
console.log("attacking");
