import type { ConnectionOptions } from "node:tls";
import pg from "pg";
import { FairSocket } from "../connect-options.ts";
import { requestCancel } from "./cancel.ts";
import type { Dsn, HostPort } from "./dsn.ts";
import { ConnectionError, DeadlineError, errorMessage, failedAt, sqlState } from "./errors.ts";

/** A connection to Postgres that is logged in, to a server that fits `target_session_attrs`. */
export interface Session {
  readonly client: pg.Client;
  /** False once the connection was lost or destroyed. */
  alive: boolean;
  /** Called once, when `alive` becomes false. */
  onLost: () => void;
  /** Closes the connection at once, without telling the server. */
  destroy(): void;
  /**
   * Closes the connection at once, like `destroy`, and asks the server to end the statement that this session runs.
   * Resolves when the request was sent or has failed.
   */
  abandon(): Promise<void>;
}

/** The options for `tls.connect`; `false` means no TLS. */
export type Tls = false | ConnectionOptions;

/** How long opening a session may take, and the signal that gives it up. */
export interface Limits {
  limitMs: number;
  signal: AbortSignal;
}

/**
 * Opens a session on one host, and checks that the server fits the DSN's `target_session_attrs`.
 *
 * @throws DeadlineError, ConnectionError, or the server's own error (`DatabaseError`)
 */
export async function openSession(
  dsn: Dsn,
  host: HostPort,
  tls: Tls,
  { limitMs, signal }: Limits,
): Promise<Session> {
  const socket = new FairSocket(limitMs);
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
  // The caller gets the error from the promise of its query. Here we only note that the session is lost.
  client.on("error", lost);
  client.on("end", lost);
  let timer: NodeJS.Timeout | undefined;
  let onAbort: () => void = () => {};
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new DeadlineError(`no connection to the database within ${Math.round(limitMs)} ms`)),
      limitMs,
    );
    onAbort = () =>
      reject(
        new ConnectionError("the wait for a connection ended, because all connections are being closed"),
      );
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

/**
 * Puts `pg_catalog` in front of a search path that names it behind another schema. Otherwise whoever may create in that
 * schema could stand in for any type and operator of our statements. The rest of the path stays: triggers need it.
 */
const putCatalogFirst = `
  SELECT pg_catalog.set_config('search_path',
           pg_catalog.concat('pg_catalog, ', pg_catalog.current_setting('search_path')), false)
  WHERE (pg_catalog.current_schemas(true))[1] OPERATOR(pg_catalog.<>) 'pg_catalog'`;

async function establish(client: pg.Client, dsn: Dsn): Promise<void> {
  await client.connect();
  await client.query(putCatalogFirst).catch((error) => {
    throw failedAt("check the session", error);
  });
  if (dsn.targetSessionAttrs === "any") return;
  await checkSession(client, dsn).catch((error) => {
    throw failedAt("check the session", error);
  });
}

/** @throws ConnectionError if the server does not fit `target_session_attrs`. */
async function checkSession(client: pg.Client, dsn: Dsn): Promise<void> {
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

/**
 * Returns an error of `pg` with a class, a SQLSTATE or a code, which tells callers its kind. `pg` throws some failures
 * as plain Errors.
 */
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

const int8Oid = 20;
const int8ArrayOid = 1016;

/**
 * Reads int8 as a number: ids and epoch seconds are far below 2^53. This changes our sessions only, not all of `pg`.
 */
const getTypeParser = ((oid: number, format?: "text" | "binary") => {
  if (oid === int8Oid) return Number;
  const parse = pg.types.getTypeParser(oid, format as "text");
  if (oid === int8ArrayOid)
    return (text: string) => (parse(text) as (string | null)[]).map((v) => (v === null ? v : Number(v)));
  return parse;
}) as typeof pg.types.getTypeParser;
