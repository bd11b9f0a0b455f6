import { DatabaseError } from "pg";
import type { StatementName } from "./statement-names.ts";

/**
 * What the caller should do about a database error.
 *
 * - `retryable`: the same statement may succeed later, or on another host: wait and try again.
 * - `bad-data`: the server refuses these values; row by row, the others may pass.
 * - `fatal`: nothing changes until a person changes something (a grant, a table, a password, the program).
 */
export type ErrorKind = "retryable" | "bad-data" | "fatal";

/** The client-side deadline of a query passed; whether the server ran the statement is unknown. */
export class DeadlineError extends Error {
  override readonly name = "DeadlineError";
}

/** No session, or the session was lost while a statement ran on it; whether it took effect is unknown. */
export class ConnectionError extends Error {
  override readonly name: string = "ConnectionError";
}

/** None of several hosts gave a session. `errors` has one entry for each, in the order they were tried. */
export class NoHostError extends ConnectionError {
  override readonly name = "NoHostError";
  readonly errors: readonly unknown[];

  constructor(message: string, errors: readonly unknown[]) {
    super(message);
    this.errors = errors;
  }
}

/**
 * SQLSTATE (five characters) or its class (two) to kind; the longer key wins, `fatal` is the default.
 * Source: PostgreSQL documentation, appendix A.
 */
export const kindBySqlState: Readonly<Record<string, ErrorKind>> = {
  "08": "retryable", // connection exceptions
  "08P01": "fatal", // protocol violation: this client and this server do not understand each other
  "21": "bad-data", // cardinality violation: the same key twice in one ON CONFLICT statement
  "22": "bad-data",
  "23": "bad-data", // also 23505: a caller that expects a duplicate looks at `sqlState` itself
  "25006": "retryable", // read-only: the primary was demoted, or this host is a standby
  "25P03": "retryable", // the server ended an idle transaction
  "25P04": "retryable", // transaction_timeout
  "40": "retryable", // serialization failure, deadlock, completion unknown
  "53": "retryable", // disk full, out of memory, too many connections
  "54": "bad-data", // too large or too complex: fewer rows at once may pass
  "55006": "retryable", // object in use
  "55P03": "retryable", // lock not available
  "57014": "retryable", // cancelled, also by statement_timeout
  "57P01": "retryable", // administrator's shutdown
  "57P02": "retryable", // crash shutdown
  "57P03": "retryable", // starting up or shutting down
  "57P05": "retryable", // idle_session_timeout
  "58": "retryable", // the server's own I/O errors
  XX000: "retryable", // the server's own bugs; poolers report a lost upstream with it
};

/** Errors of sockets and of the resolver (`error.code`) that mean "not now". Other codes are fatal. */
const retryableCodes: ReadonlySet<string> = new Set([
  "ECONNABORTED",
  "ECONNREFUSED",
  "ECONNRESET",
  "EADDRNOTAVAIL",
  "EAGAIN", // the backlog of a Unix socket is full
  "EAI_AGAIN",
  "EHOSTDOWN",
  "EHOSTUNREACH",
  "EMFILE",
  "ENETDOWN",
  "ENETUNREACH",
  "ENFILE",
  "ENOBUFS",
  "ENOENT", // a Unix socket whose server is not up yet
  "ENOTFOUND",
  "EPIPE",
  "ETIMEDOUT",
]);

/** The five characters that Postgres gave, or undefined where the error did not come from the server. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof DatabaseError ? error.code : undefined;
}

/** Tells what to do about an error that a `Database` threw. Anything unknown is `fatal`. */
export function errorKind(error: unknown): ErrorKind {
  const state = sqlState(error);
  if (state !== undefined) return kindBySqlState[state] ?? kindBySqlState[state.slice(0, 2)] ?? "fatal";
  if (error instanceof DeadlineError) return "retryable";
  if (error instanceof NoHostError) {
    return error.errors.some((one) => errorKind(one) === "retryable") ? "retryable" : "fatal";
  }
  const code = (error as { code?: unknown } | null | undefined)?.code;
  if (typeof code === "string") return retryableCodes.has(code) ? "retryable" : "fatal";
  return error instanceof ConnectionError ? "retryable" : "fatal";
}

const failedStatements = new WeakMap<object, StatementName>();

/** Notes which statement failed with `error`. An error that has a statement already keeps it. Returns the error. */
export function failedAt(statement: StatementName, error: unknown): unknown {
  if (typeof error === "object" && error !== null && !failedStatements.has(error)) {
    failedStatements.set(error, statement);
  }
  return error;
}

/** The statement that failed with this error, or with what caused it; undefined where it is not of the database. */
export function failedStatement(error: unknown): StatementName | undefined {
  if (typeof error !== "object" || error === null) return undefined;
  return failedStatements.get(error) ?? failedStatement((error as { cause?: unknown }).cause);
}

const maxMessageCharacters = 500;

/**
 * One readable line about an error, for logs and `last_error`: the message and the SQLSTATE or errno.
 * Never the values of a row (Postgres puts them into `detail`, which is left out) nor a password.
 */
export function errorMessage(error: unknown): string {
  const code = sqlState(error) ?? (error as { code?: unknown } | null | undefined)?.code;
  const text = (error instanceof Error ? error.message || aggregated(error) : String(error))
    .replace(/\s+/g, " ")
    .slice(0, maxMessageCharacters);
  return typeof code === "string" && !text.includes(code) ? `${text} (${code})` : text;
}

/** `net` reports a host with several addresses as an AggregateError without a message of its own. */
function aggregated(error: Error): string {
  return error instanceof AggregateError ? error.errors.map(errorMessage).join("; ") : error.name;
}
