import { existsSync, readFileSync } from "node:fs";
import { Socket } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import type { ConnectionOptions } from "node:tls";
import { rootCertificates } from "node:tls";
import pg from "pg";
import { requestCancel } from "./cancel.ts";
import { type Dsn, DsnError, type HostPort } from "./dsn.ts";
import { ConnectionError, DeadlineError, errorMessage, NoHostError, sqlState } from "./errors.ts";

/** A connected, checked session. */
export interface Session {
  readonly client: pg.Client;
  /** False from the moment the connection is lost or destroyed. */
  alive: boolean;
  /** Called once, when `alive` turns false. */
  onLost: () => void;
  /** Immediate; needs nothing from the server. */
  destroy(): void;
  /** `destroy`, while a statement runs: the server is asked to end that, too. Resolves when it was asked. */
  abandon(): Promise<void>;
}

/** `false`: plain; otherwise what `tls.connect` gets. */
type Tls = false | ConnectionOptions;

/** Finds a host, in the DSN's order but beginning with the one that was good last, and opens a session. */
export interface Connector {
  /**
   * @param signal gives it up.
   * @throws DeadlineError, ConnectionError, or what the server said (`DatabaseError`)
   */
  connect(deadlineMs: number, signal: AbortSignal): Promise<Session>;
}

/**
 * Prepares what every connection needs: reads certificates once.
 * @throws DsnError where a certificate is missing or unreadable
 */
export function createConnector(dsn: Dsn): Connector {
  const attempts = tlsAttempts(dsn);
  let lastGood = 0;
  return {
    async connect(deadlineMs, signal) {
      const until = performance.now() + deadlineMs;
      const errors: unknown[] = [];
      const tried: HostPort[] = [];
      for (let offset = 0; offset < dsn.hosts.length; offset++) {
        const index = (lastGood + offset) % dsn.hosts.length;
        const host = dsn.hosts[index]!;
        const remainingMs = until - performance.now();
        // A black-holed host gets its share of the time, so that those after it are still reached.
        const shareMs = remainingMs / (dsn.hosts.length - offset);
        const limitMs = Math.min((dsn.connectTimeoutSeconds ?? Number.POSITIVE_INFINITY) * 1000, shareMs);
        try {
          const session = await connectHost(dsn, host, attempts, { limitMs, signal });
          lastGood = index;
          return session;
        } catch (error) {
          errors.push(error);
          tried.push(host);
        }
      }
      if (errors.length === 1) throw errors[0];
      const each = errors.map((error, index) => `${hostLabel(tried[index]!)}: ${errorMessage(error)}`);
      throw new NoHostError(`none of ${errors.length} hosts can be used: ${each.join("; ")}`, errors);
    },
  };
}

/** TLS settings to try on one host, in order (PostgreSQL documentation, 32.19.3, table 32.1). */
function tlsAttempts(dsn: Dsn): Tls[] {
  if (dsn.sslMode === "disable") return [false];
  const identity = {
    ...(dsn.sslCert ? { cert: readPem("sslcert", dsn.sslCert) } : {}),
    ...(dsn.sslKey ? { key: readPem("sslkey", dsn.sslKey) } : {}),
  };
  const unverified: Tls = { ...identity, rejectUnauthorized: false };
  if (dsn.sslMode === "prefer") return [unverified, false];
  if (dsn.sslMode === "allow") return [false, unverified];

  const ca = rootCa(dsn);
  if (dsn.sslMode === "require" && ca === undefined) return [unverified];
  if (ca === undefined) {
    throw new DsnError(
      `has sslmode=${dsn.sslMode} but no sslrootcert (a file with the CA's certificate, or system)`,
    );
  }
  const verified: Tls = { ...identity, ca, rejectUnauthorized: true };
  // `require` with a root certificate is `verify-ca`, for libpq too.
  return [dsn.sslMode === "verify-full" ? verified : { ...verified, checkServerIdentity: () => undefined }];
}

function rootCa(dsn: Dsn): string | string[] | undefined {
  if (dsn.sslRootCert === "system") return [...rootCertificates];
  const defaultFile = join(homedir(), ".postgresql", "root.crt");
  if (dsn.sslRootCert === undefined && !existsSync(defaultFile)) return undefined;
  return readPem("sslrootcert", dsn.sslRootCert ?? defaultFile);
}

function readPem(parameter: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new DsnError(`names a file in ${parameter} that cannot be read: ${errorMessage(error)}`);
  }
}

/** How long a session may take to be made, and what gives it up. */
interface Limits {
  limitMs: number;
  signal: AbortSignal;
}

async function connectHost(
  dsn: Dsn,
  host: HostPort,
  attempts: Tls[],
  { limitMs, signal }: Limits,
): Promise<Session> {
  const until = performance.now() + limitMs;
  const usable: Tls[] = host.host.startsWith("/") ? [false] : attempts;
  for (const [index, tls] of usable.entries()) {
    try {
      return await openSession(dsn, host, tls, { limitMs: until - performance.now(), signal });
    } catch (error) {
      if (index === usable.length - 1 || !worthOtherTls(error, tls)) throw error;
    }
  }
  throw new ConnectionError("no way to connect is allowed");
}

/**
 * The other half of `prefer` and `allow` is tried where the server has no TLS, where the handshake fails, and
 * where pg_hba.conf has no line for this kind of connection (28000); not where the host does not answer.
 */
function worthOtherTls(error: unknown, tls: Tls): boolean {
  if (sqlState(error) !== undefined) return sqlState(error) === "28000";
  if (error instanceof DeadlineError || tls === false) return false;
  const code = (error as { code?: unknown }).code;
  return (
    !(typeof code === "string" && /^(E[A-Z]+|EAI_[A-Z]+)$/.test(code)) ||
    code === "EPROTO" ||
    code === "ECONNRESET"
  );
}

async function openSession(
  dsn: Dsn,
  host: HostPort,
  tls: Tls,
  { limitMs, signal }: Limits,
): Promise<Session> {
  const socket = new Socket();
  const client = new pg.Client({
    host: host.host,
    port: host.port,
    user: dsn.user,
    password: dsn.password,
    database: dsn.database,
    options: dsn.options,
    application_name: dsn.applicationName ?? "certwatch",
    ssl: tls,
    stream: () => socket,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    types: { getTypeParser },
  });
  const lost = () => {
    if (!session.alive) return;
    session.alive = false;
    session.onLost();
  };
  const destroy = () => {
    socket.destroy();
    lost();
  };
  const abandon = () => {
    const { processID: processId, secretKey } = client as unknown as { processID: number; secretKey: number };
    const asked = session.alive ? requestCancel(host, tls, { processId, secretKey }) : Promise.resolve();
    destroy();
    return asked;
  };
  const session: Session = { client, alive: true, onLost: () => {}, destroy, abandon };
  // The promise of a running query carries the same error: here it only marks the session.
  client.on("error", lost);
  client.on("end", lost);
  let timer: NodeJS.Timeout | undefined;
  let onAbort: () => void = () => {};
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new DeadlineError(`no session within ${Math.round(limitMs)} ms`)),
      limitMs,
    );
    onAbort = () => reject(new ConnectionError("given up: the connections are being closed"));
    signal.addEventListener("abort", onAbort);
  });
  try {
    signal.throwIfAborted();
    await Promise.race([establish(client, dsn), deadline]);
    return session;
  } catch (error) {
    destroy();
    throw explainError(error);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}

async function establish(client: pg.Client, dsn: Dsn): Promise<void> {
  await client.connect();
  if (dsn.targetSessionAttrs === "any") return;
  const { rows } = await client.query<{ standby: boolean; read_only: boolean }>(
    "SELECT pg_catalog.pg_is_in_recovery() AS standby," +
      " pg_catalog.current_setting('transaction_read_only')::boolean AS read_only",
  );
  const standby = rows[0]?.standby ?? true;
  if (standby) throw new ConnectionError(`is a standby (target_session_attrs=${dsn.targetSessionAttrs})`);
  if (dsn.targetSessionAttrs === "read-write" && rows[0]?.read_only) {
    throw new ConnectionError("is read-only (target_session_attrs=read-write)");
  }
}

/** `pg` reports some failures as bare Errors; the kind of an error is told by class, SQLSTATE or code. */
export function explainError(error: unknown): unknown {
  if (sqlState(error) !== undefined || error instanceof DeadlineError || error instanceof ConnectionError)
    return error;
  const { code, message } = error as { code?: unknown; message: string };
  if (/password must be a string/.test(message)) {
    return Object.assign(new ConnectionError("the server asks for a password and none is configured"), {
      code: "NO_PASSWORD",
    });
  }
  if (typeof code === "string") return error;
  return new ConnectionError(message || errorMessage(error), { cause: error });
}

const INT8 = 20;
const INT8_ARRAY = 1016;

/** int8 as a number: ids and epoch seconds are far below 2^53. For these sessions only, not for all of `pg`. */
const getTypeParser = ((oid: number, format?: "text" | "binary") => {
  if (oid === INT8) return Number;
  const parse = pg.types.getTypeParser(oid, format as "text");
  if (oid === INT8_ARRAY)
    return (text: string) => (parse(text) as (string | null)[]).map((v) => (v === null ? v : Number(v)));
  return parse;
}) as typeof pg.types.getTypeParser;

function hostLabel({ host, port }: HostPort): string {
  return host.startsWith("/")
    ? `${host}/.s.PGSQL.${port}`
    : `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
