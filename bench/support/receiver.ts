import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

/*
 * A webhook receiver that answers 200 at once. Over IPC: sends `{ url }`; then gets `{ report: true }` and answers
 * `{ count, arrivals }`, with the arrivals since the last report: fingerprint, and time in ms since the epoch.
 */

let count = 0;
let arrivals: [fingerprint: string, epochMs: number][] = [];

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const epochMs = performance.timeOrigin + performance.now();
    response.end();
    count++;
    const fingerprint = /"fingerprint_sha1":"([0-9a-f]{40})"/.exec(
      Buffer.concat(chunks).toString("latin1"),
    )?.[1];
    arrivals.push([fingerprint ?? "", epochMs]);
  });
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
process.send!({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` });
process.on("message", () => {
  process.send!({ count, arrivals });
  arrivals = [];
});
