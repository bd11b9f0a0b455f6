import { createHash } from "node:crypto";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createAuthority } from "../../src/demo/certificates.ts";
import type { CtLog, LogEntry } from "../../src/demo/log-entry.ts";
import { createCtLogKey } from "../../src/demo/sct.ts";
import { checkpoint, extraData, merkleTreeLeaf, signedTreeHead, tileLeaf } from "./ct-structures.ts";

/** What goes into a log; the log makes a LogEntry of it. */
export type Submission = Pick<LogEntry, "issuance" | "kind">;

export interface TestLog {
  log: CtLog;
  /**
   * Adds the submissions to the tree, and returns their entries. So that a follower sees them at once,
   * others' certificates are added: see `startTestLog`.
   */
  publish(...submissions: Submission[]): LogEntry[];
  /** Resolves when a follower knows the present tree, and asks for a bigger one. */
  followed(): Promise<void>;
  close(): Promise<void>;
}

const tileSize = 256;

/** Below the 30 s after which certstream-server-go gives a request up (`ct-watcher.go`). */
const holdMs = 20_000;

/**
 * A CT log on loopback for one follower, certstream-server-go: get-sth and get-entries of RFC 6962, or
 * checkpoint, data tiles and issuers of a static-ct log. It starts with `history` entries of others.
 *
 * What makes it quick to follow: the server polls with a back-off of 1 s to 60 s. So a request for a tree head
 * is answered only when the tree has grown, once the follower has read the present one (twice for RFC 6962,
 * by the watcher and by the scanner). And the scanner, for 45 s after each batch, wants a full batch of 100
 * (`scanner/fetcher.go`, updateSTH): `publish` fills up to that, after the submissions. For a static-ct log
 * `publish` first adds the one entry that the server loses: at its start it takes the tree size for the index
 * of the last entry it has seen (`ct-watcher.go`, processTile).
 */
export async function startTestLog(type: CtLog["type"], history = 10): Promise<TestLog> {
  const key = createCtLogKey();
  const entries: LogEntry[] = [];
  const held = new Set<() => void>();
  const followedWaiters = new Set<() => void>();
  const headsBeforeFollowing = type === "tiled" ? 1 : 2;
  let headsServed = 0;
  let sizeServed = -1;
  let isFirstPublish = true;

  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://localhost");
    if (type === "rfc6962" && pathname === "/ct/v1/get-sth") {
      serveTreeHead(() => json(response, signedTreeHead(key, entries, Date.now())));
    } else if (type === "rfc6962" && pathname === "/ct/v1/get-entries") {
      const range = [Number(searchParams.get("start")), Number(searchParams.get("end")) + 1] as const;
      const found = entries.slice(...range).map((entry) => ({
        leaf_input: merkleTreeLeaf(entry).toString("base64"),
        extra_data: extraData(entry).toString("base64"),
      }));
      if (found.length === 0) response.writeHead(400).end();
      else json(response, { entries: found });
    } else if (type === "tiled" && pathname === "/checkpoint") {
      serveTreeHead(() => response.end(checkpoint(key, "log.invalid/test", entries, Date.now())));
    } else if (type === "tiled") {
      const found = dataTile(entries, pathname) ?? issuer(entries, pathname);
      if (found === undefined) response.writeHead(404).end();
      else response.end(found);
    } else {
      response.writeHead(404).end();
    }
  });

  /** Answers at once as long as the follower is starting, then when the tree has grown or `holdMs` are over. */
  function serveTreeHead(respond: () => void): void {
    const answer = () => {
      sizeServed = entries.length;
      respond();
    };
    if (headsServed++ < headsBeforeFollowing || entries.length > sizeServed) {
      answer();
      return;
    }
    const release = () => {
      clearTimeout(timer);
      held.delete(release);
      answer();
    };
    const timer = setTimeout(release, holdMs);
    held.add(release);
    for (const waiter of followedWaiters) waiter();
    followedWaiters.clear();
  }

  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const log: CtLog = { name: `Test '${type}' log`, url, type };
  const noise: Submission = {
    issuance: createAuthority({ organization: "Noise", commonName: "Noise CA" }).issue({
      dnsNames: ["noise.invalid"],
    }),
    kind: "X509LogEntry",
  };
  const append = (submission: Submission): LogEntry => {
    const entry = { ...submission, log, index: entries.length };
    entries.push(entry);
    return entry;
  };
  for (let i = 0; i < history; i++) append(noise);

  return {
    log,
    publish(...submissions) {
      if (type === "tiled" && isFirstPublish) append(noise);
      isFirstPublish = false;
      const published = submissions.map(append);
      if (type === "rfc6962") for (let i = submissions.length; i % 100 !== 0; i++) append(noise);
      for (const release of [...held]) release();
      return published;
    },
    followed: () =>
      held.size > 0 ? Promise.resolve() : new Promise<void>((resolve) => followedWaiters.add(resolve)),
    async close() {
      for (const release of [...held]) release();
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

function json(response: ServerResponse, body: unknown): void {
  response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(body));
}

/** `/tile/data/x001/234` whole, `/tile/data/000.p/17` partial; `undefined` for anything that is not there. */
function dataTile(entries: LogEntry[], path: string): Buffer | undefined {
  const match = /^\/tile\/data\/((?:x\d{3}\/)*\d{3})(?:\.p\/(\d{1,3}))?$/.exec(path);
  if (match === null) return undefined;
  const start = Number(match[1]!.replace(/[x/]/g, "")) * tileSize;
  const width = match[2] === undefined ? tileSize : Number(match[2]);
  if (start + width > entries.length) return undefined;
  return Buffer.concat(entries.slice(start, start + width).map(tileLeaf));
}

/** `/issuer/<SHA-256 of the certificate in hex>`. */
function issuer(entries: LogEntry[], path: string): Buffer | undefined {
  const fingerprint = /^\/issuer\/([0-9a-f]{64})$/.exec(path)?.[1];
  return entries
    .flatMap((entry) => entry.issuance.chain)
    .map(({ der }) => der)
    .find((der) => createHash("sha256").update(der).digest("hex") === fingerprint);
}
