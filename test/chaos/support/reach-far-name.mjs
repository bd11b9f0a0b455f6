// Tries to reach a feed, a receiver and a Postgres at far.test, of which each handshake takes a second, with the code that
// the service uses, and prints what came of it.
import { fork } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { toPayload } from "../../../dist/alerts/payload.js";
import { WebhookSender } from "../../../dist/alerts/webhook.js";
import { parseDsn } from "../../../dist/db/dsn.js";
import { openPool } from "../../../dist/db/pool.js";
import { serveConnection } from "../../../dist/feed/connection.js";

const children = [];
// However this process ends: a child that is stopped would keep the output open, for which the test waits.
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
});

const anAlert = toPayload({
  id: 1,
  severity: "suspicious",
  eventType: "certificate.suspicious",
  incidentKey: null,
  issuanceId: "",
  matchBasis: "none",
  reason: "",
  payload: {},
});

async function startSlowServer() {
  const child = fork(new URL("../../support/slow-handshakes.mjs", import.meta.url), {
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  children.push(child);
  const [port] = await once(child, "message");
  child.kill("SIGSTOP");
  const fillers = Array.from({ length: 4 }, () => connect(port, "127.0.0.1").on("error", () => {}));
  await Promise.all(fillers.slice(0, 2).map((socket) => once(socket, "connect")));
  setTimeout(() => child.kill("SIGCONT"), 500);
  return port;
}

async function reachWebhook() {
  const url = `http://far.test:${await startSlowServer()}/`;
  const sender = new WebhookSender(
    { url, timeoutSeconds: 10, secrets: [], authorization: null },
    { version: "0", connections: 1 },
  );
  return sender.send(anAlert, "id").finally(() => sender.close());
}

async function reachFeed() {
  const stop = new AbortController();
  let state = "refused";
  const ending = await serveConnection({
    url: `ws://far.test:${await startSlowServer()}/`,
    userAgent: "certwatch/test",
    maxMessageBytes: 1_000,
    pingIntervalMs: 20_000,
    idleTimeoutSeconds: 0,
    signal: stop.signal,
    onOpen: () => {
      state = "open";
      stop.abort();
    },
    onMessage: () => {},
    onTooLarge: () => {},
    takeReceived: () => false,
    hasDelivered: () => false,
  });
  return state === "open" ? state : ending.reason;
}

async function reachPostgres() {
  const pool = openPool(
    parseDsn(`postgres://user:password@far.test:${await startSlowServer()}/db?sslmode=disable`),
  );
  const failed = await pool.query({ name: "reach", text: "SELECT 1" }, 10_000).catch((error) => error);
  await pool.end();
  return failed.message;
}

const timer = sleep(60_000, undefined, { ref: false }).then(() => process.exit(1));
const [webhook, feed, postgres] = await Promise.all([reachWebhook(), reachFeed(), reachPostgres()]);
console.log(JSON.stringify({ webhook, feed, postgres }));
void timer;
process.exit(0);
