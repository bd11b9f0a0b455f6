import { execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import type { CtLog } from "../../src/demo/log-entry.ts";
import type { Feed } from "../../src/demo/wire.ts";
import { cacheFolder, goBuild, moduleFolder } from "./go-build.ts";

const run = promisify(execFile);
const modulePath = "github.com/d-Rickyy-b/certstream-server-go";

/**
 * Builds the server in the version that `go/go.mod` pins, through the Go module proxy, and returns the path of
 * the binary; a second call finds it in the cache. `null` where the machine has no `go` and no binary yet.
 */
export async function buildCertstreamServerGo(): Promise<string | null> {
  const goMod = await readFile(join(moduleFolder, "go.mod"), "utf8");
  const version = new RegExp(`${modulePath} (v\\S+)`).exec(goMod)?.[1];
  const name = `certstream-server-go-${version}`;
  const binary = join(cacheFolder, name);
  if (await isVersion(binary, version)) return binary;
  return await goBuild(`${modulePath}/cmd/certstream-server-go`, name);
}

/** Whether the binary is there and says that it is of this version. */
const isVersion = (binary: string, version: string | undefined): Promise<boolean> =>
  run(binary, ["--version"]).then(
    ({ stdout }) => stdout.trim() === `certstream-server-go ${version}`,
    () => false,
  );

export interface CertstreamServerGo {
  /** Where the feed is served. */
  url(feed: Feed): string;
  /** What the server has written to its log. */
  readonly lines: readonly string[];
  /** Resolves when `count` clients have been registered since the start: from then on they get everything. */
  waitForClients(count: number): Promise<void>;
  /** SIGTERM, and SIGKILL where that does not end it. */
  stop(): Promise<void>;
}

const paths: Record<Feed, string> = { full: "/full-stream", lite: "/", "domains-only": "/domains-only" };

/** Starts the server on a free port of loopback, following `logs` and no others; resolves when it listens. */
export async function startCertstreamServerGo(binary: string, logs: CtLog[]): Promise<CertstreamServerGo> {
  const folder = await mkdtemp(join(tmpdir(), "certwatch-interop-"));
  const configFile = join(folder, "config.yml");
  const port = await freePort();
  // JSON is YAML.
  await writeFile(configFile, JSON.stringify(serverConfig(port, logs)));

  const child = spawn(binary, ["--config", configFile], {
    cwd: folder,
    // CERTSTREAM_* variables would override the file.
    env: { PATH: process.env.PATH },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const lines: string[] = [];
  const waiters = new Set<() => void>();
  let hasExited = false;
  const changed = () => {
    for (const check of [...waiters]) check();
  };
  createInterface({ input: child.stderr }).on("line", (line) => {
    lines.push(line);
    changed();
  });
  const exited = new Promise<void>((resolve) => {
    const ended = () => {
      hasExited = true;
      changed();
      resolve();
    };
    child.once("close", ended);
    child.once("error", (error) => {
      lines.push(error.message);
      ended();
    });
  });
  const failed = () => new Error(`certstream-server-go ended:\n${lines.join("\n")}`);

  while (!(await accepts(port))) {
    if (hasExited) {
      await rm(folder, { recursive: true, force: true });
      throw failed();
    }
    await sleep(20);
  }

  return {
    url: (feed) => `ws://127.0.0.1:${port}${paths[feed]}`,
    lines,
    waitForClients: (count) =>
      new Promise((resolve, reject) => {
        const check = () => {
          // broadcastmanager.go, registerClient
          const registered = lines.filter((line) => / Clients: \d+, Capacity: /.test(line)).length;
          if (registered < count && !hasExited) return;
          waiters.delete(check);
          if (registered >= count) resolve();
          else reject(failed());
        };
        waiters.add(check);
        check();
      }),
    async stop() {
      child.kill("SIGTERM");
      const killer = setTimeout(() => child.kill("SIGKILL"), 5_000);
      await exited;
      clearTimeout(killer);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function serverConfig(port: number, logs: CtLog[]) {
  const ofType = (type: CtLog["type"]) =>
    logs
      .filter((log) => log.type === type)
      .map(({ name, url }) => ({ url, operator: `Operator of ${name}`, description: name }));
  return {
    webserver: { listen_addr: "127.0.0.1", listen_port: port },
    prometheus: { enabled: false },
    general: {
      disable_default_logs: true,
      additional_logs: ofType("rfc6962"),
      additional_tiled_logs: ofType("tiled"),
      recovery: { enabled: false },
    },
  };
}

/** A port that was free a moment ago: the server cannot be told to choose one itself. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}

const accepts = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
