import WebSocket from "ws";

// What every consumer has to do at least: `ws` with its defaults, a listener that counts. With `parse` as the second
// argument also what most do: JSON.parse.
const [url, mode] = process.argv.slice(2);
let count = 0;
const socket = new WebSocket(url!, { perMessageDeflate: false });
if (mode === "parse") {
  socket.on("message", (message: Buffer) => {
    if (JSON.parse(message.toString()).message_type === "certificate_update") count++;
  });
} else {
  socket.on("message", () => {
    count++;
  });
}
socket.on("error", (error) => console.error(error.message));
process.on("message", () => process.send!({ count }));
process.on("disconnect", () => process.exit());
