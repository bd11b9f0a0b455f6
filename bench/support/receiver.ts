import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

/*
 * A webhook receiver that answers 200, at once or after so many milliseconds (its argument). Over IPC: sends `{ url }`;
 * then gets `{ report: true }` and answers `{ count, arrivals }`, with the arrivals since the last report: fingerprint, and
 * time in ms since the epoch; or gets `{ reach: n }` and answers `{ reached: n, reachedAt }` when the n-th has arrived.
 */

const delayMs = Number(process.argv[2] ?? 0);
let count = 0;
let arrivals: [fingerprint: string, epochMs: number][] = [];
let wanted = Number.POSITIVE_INFINITY;
let lastEpochMs = 0;

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    lastEpochMs = performance.timeOrigin + performance.now();
    if (delayMs === 0) response.end();
    else setTimeout(() => response.end(), delayMs);
    count++;
    const fingerprint = /"fingerprint_sha1":"([0-9a-f]{40})"/.exec(
      Buffer.concat(chunks).toString("latin1"),
    )?.[1];
    arrivals.push([fingerprint ?? "", lastEpochMs]);
    tellIfReached();
  });
});

function tellIfReached(): void {
  if (count < wanted) return;
  process.send!({ reached: wanted, reachedAt: lastEpochMs });
  wanted = Number.POSITIVE_INFINITY;
}

process.on("message", (message: { report: true } | { reach: number }) => {
  if ("reach" in message) {
    wanted = message.reach;
    tellIfReached();
    return;
  }
  process.send!({ count, arrivals });
  arrivals = [];
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
process.send!({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` });
