import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  accessSync,
  appendFileSync,
  chmodSync,
  chownSync,
  constants,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import pg from "pg";
import { readSchema } from "../../src/db/apply-schema.ts";

const BINARIES = findBinaries();

/** Why there can be no cluster of one's own, in the form that `describeIfAvailable` wants; undefined: there can. */
export const NO_POSTGRES = BINARIES === undefined ? "no PostgreSQL on this machine" : undefined;

/** A Postgres server made for one test file: on a Unix socket, in a temporary folder, without fsync. */
export interface Cluster {
  /** Folder of the data, of the socket, and of `log`. */
  dir: string;
  /** Where it listens besides the socket, on 127.0.0.1; undefined unless asked for. */
  port: number | undefined;
  /** DSN of a database, over the socket (`tcp: true`: over 127.0.0.1). */
  dsn(database?: string, options?: { tcp?: boolean }): string;
  /** Makes an empty database with schema.sql applied, or (`schema: false`) without; returns its DSN. */
  createDatabase(options?: { schema?: boolean }): Promise<string>;
  /** Starts it again after `stop` or `kill`, and waits until it answers. */
  start(): Promise<void>;
  /** Stops it in order (SIGINT: "fast"). */
  stop(): Promise<void>;
  /** SIGKILL to every process of it, as a crash. */
  kill(): Promise<void>;
  /** SIGSTOP to every process of it: connections stay open and nothing answers. */
  freeze(): void;
  /** SIGCONT. */
  thaw(): void;
  /** Stops it and removes its folder. */
  close(): Promise<void>;
}

/**
 * Makes and starts a cluster. It ends with this process, however that ends.
 *
 * @param options.conf lines for postgresql.conf
 * @param options.hba replaces pg_hba.conf; without it everybody is trusted
 * @param options.files copied into the data folder, by their name there, readable for the server alone
 * @param options.tcp listens on a free port of 127.0.0.1 as well
 */
export async function startCluster(
  options: { conf?: string[]; hba?: string[]; files?: Record<string, string>; tcp?: boolean } = {},
): Promise<Cluster> {
  const dir = mkdtempSync(join(tmpdir(), "certwatch-pg-"));
  const user = unprivilegedUser();
  if ("uid" in user) chownSync(dir, user.uid as number, user.gid as number);
  const data = join(dir, "data");
  execFileSync(
    join(BINARIES!, "initdb"),
    ["-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"],
    {
      ...user,
      cwd: dir,
      stdio: "pipe",
      env: { ...process.env, LC_ALL: "C.UTF-8" },
    },
  );
  const port = options.tcp ? await freePort() : undefined;
  const conf = [
    `listen_addresses = '${port === undefined ? "" : "127.0.0.1"}'`,
    `port = ${port ?? 5432}`,
    `unix_socket_directories = '${dir}'`,
    "fsync = off",
    "max_connections = 50",
    // In its folder, which is removed: killed servers leave what they have in /dev/shm there.
    "dynamic_shared_memory_type = mmap",
    ...(options.conf ?? []),
  ];
  appendFileSync(join(data, "postgresql.conf"), `\n${conf.join("\n")}\n`);
  if (options.hba) writeFileSync(join(data, "pg_hba.conf"), `${options.hba.join("\n")}\n`);
  for (const [name, source] of Object.entries(options.files ?? {})) {
    copyFileSync(source, join(data, name));
    chmodSync(join(data, name), 0o600);
    if ("uid" in user) chownSync(join(data, name), user.uid as number, user.gid as number);
  }
  const cluster = new OwnCluster(dir, data, user, port);
  try {
    await cluster.start();
  } catch (error) {
    await cluster.close();
    throw error;
  }
  return cluster;
}

/**
 * A shell that runs Postgres; when its own standard input ends, because the test run was killed, it ends Postgres and
 * removes the folder ($1). Until Postgres has ended by itself, `wait` keeps its process id from being used again.
 */
const GUARDED = `
  dir=$1; shift
  exec 3<&0
  "$@" </dev/null 3<&- & pid=$!
  (read _ <&3; trap "" TERM; kill -QUIT $pid; kill -CONT $pid
   while kill -0 $pid 2>/dev/null; do sleep 0.1; done; cd /; rm -rf "$dir") & guard=$!
  wait $pid; code=$?
  kill $guard
  exit $code`;

class OwnCluster implements Cluster {
  readonly dir: string;
  readonly port: number | undefined;
  readonly #data: string;
  readonly #user: { uid?: number; gid?: number };
  #guard: ChildProcess | undefined;
  #templateMade = false;

  constructor(dir: string, data: string, user: { uid?: number; gid?: number }, port: number | undefined) {
    this.dir = dir;
    this.#data = data;
    this.#user = user;
    this.port = port;
  }

  dsn(database = "postgres", { tcp = false }: { tcp?: boolean } = {}): string {
    if (tcp) return `postgres://postgres@127.0.0.1:${this.port}/${database}`;
    return `postgres://postgres@/${database}?host=${encodeURIComponent(this.dir)}&port=${this.port ?? 5432}`;
  }

  async createDatabase({ schema = true }: { schema?: boolean } = {}): Promise<string> {
    if (schema && !this.#templateMade) {
      await createDatabase(this.dsn(), "certwatch_template");
      await applySchema(this.dsn("certwatch_template"));
      this.#templateMade = true;
    }
    const name = uniqueName();
    await createDatabase(this.dsn(), name, schema ? "certwatch_template" : undefined);
    return this.dsn(name);
  }

  async start(): Promise<void> {
    const guard = spawn(
      "sh",
      ["-c", GUARDED, "guard", this.dir, join(BINARIES!, "postgres"), "-D", this.#data],
      {
        ...this.#user,
        cwd: this.dir,
        stdio: ["pipe", "pipe", "pipe"],
      },
    );
    this.#guard = guard;
    let log = "";
    guard.stderr!.on("data", (chunk) => {
      log += chunk;
    });
    const ready = new Promise<void>((resolve) => {
      guard.stderr!.on("data", () => {
        if (log.includes("ready to accept connections")) resolve();
      });
    });
    const ended = once(guard, "exit").then(() => {
      throw new Error(`PostgreSQL does not start:\n${log}`);
    });
    await Promise.race([ready, ended]);
    ended.catch(() => {});
  }

  async stop(): Promise<void> {
    await this.#end("SIGINT");
  }

  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  freeze(): void {
    this.#signalAll("SIGSTOP");
  }

  thaw(): void {
    this.#signalAll("SIGCONT");
  }

  async close(): Promise<void> {
    if (this.#guard !== undefined) await this.kill();
    await rm(this.dir, { recursive: true, force: true });
  }

  async #end(signal: "SIGINT" | "SIGKILL"): Promise<void> {
    const guard = this.#guard;
    if (guard === undefined) return;
    this.#guard = undefined;
    const exited = guard.exitCode === null && guard.signalCode === null ? once(guard, "exit") : undefined;
    if (signal === "SIGKILL") this.#signalAll(signal);
    else signalOne(this.#postmaster(), signal);
    await exited;
  }

  /** The postmaster first, so that it starts no new children; those have process groups of their own. */
  #signalAll(signal: NodeJS.Signals): void {
    const postmaster = this.#postmaster();
    if (postmaster === undefined) return;
    const children = childrenOf(postmaster);
    for (const pid of [postmaster, ...children, ...childrenOf(postmaster)]) signalOne(pid, signal);
  }

  #postmaster(): number | undefined {
    const file = join(this.#data, "postmaster.pid");
    return existsSync(file) ? Number(readFileSync(file, "utf8").split("\n")[0]) : undefined;
  }
}

/** A database server for a test file that needs no more than databases on it. */
export interface DatabaseSource {
  createDatabase(options?: { schema?: boolean }): Promise<string>;
  close(): Promise<void>;
}

/** `TEST_POSTGRES_DSN` where it is set, otherwise a cluster of its own. */
export async function openPostgres(): Promise<DatabaseSource> {
  const given = process.env.TEST_POSTGRES_DSN;
  if (!given) return startCluster();
  const names: string[] = [];
  return {
    async createDatabase({ schema = true } = {}) {
      const name = uniqueName();
      await createDatabase(given, name);
      names.push(name);
      const url = new URL(given);
      url.pathname = `/${name}`;
      if (schema) await applySchema(url.href);
      return url.href;
    },
    async close() {
      for (const name of names) await command(given, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    },
  };
}

/** As `NO_POSTGRES`, for suites that use `openPostgres`. */
export const NO_POSTGRES_OR_DSN = process.env.TEST_POSTGRES_DSN ? undefined : NO_POSTGRES;

/** Applies the repository's schema.sql. */
export async function applySchema(dsn: string): Promise<void> {
  const { tables, indexes } = readSchema();
  await command(dsn, tables, ...indexes);
}

async function createDatabase(dsn: string, name: string, template = "template0"): Promise<void> {
  await command(dsn, `CREATE DATABASE ${name} TEMPLATE ${template}`);
}

async function command(dsn: string, ...statements: string[]): Promise<void> {
  const client = new pg.Client({ connectionString: dsn });
  await client.connect();
  try {
    for (const sql of statements) await client.query(sql);
  } finally {
    await client.end();
  }
}

function uniqueName(): string {
  return `test_${process.pid}_${Math.random().toString(36).slice(2, 10)}`;
}

/** Folder with initdb and postgres: of PATH, or of the newest version where Debian installs them. */
function findBinaries(): string | undefined {
  const debian = "/usr/lib/postgresql";
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  const folders = [
    ...(process.env.PATH ?? "").split(delimiter),
    ...versions.map((version) => join(debian, version, "bin")),
  ];
  return folders.find((folder) => isProgram(join(folder, "initdb")) && isProgram(join(folder, "postgres")));
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Postgres refuses to run as root: then `postgres`, or `nobody`. */
function unprivilegedUser(): { uid: number; gid: number } | Record<string, never> {
  if (process.getuid?.() !== 0) return {};
  const lines = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .map((line) => line.split(":"));
  const entry = lines.find(([name]) => name === "postgres") ?? lines.find(([name]) => name === "nobody");
  return { uid: Number(entry?.[2]), gid: Number(entry?.[3]) };
}

/** The process ids of the processes that this one started and that have not ended. */
export function childrenOf(parent: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
        return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]) === parent;
      } catch {
        return false; // it ended meanwhile
      }
    })
    .map(Number);
}

function signalOne(pid: number | undefined, signal: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}
