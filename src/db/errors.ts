import { DatabaseError } from "pg";
import type { StatementName } from "./statement-names.ts";

/**
 * Tells the caller what to do about a database error.
 *
 * - `retryable`: wait and try again. The same statement may succeed later, or on another host.
 * - `bad-data`: the server refuses these values. Try the rows one by one: the other rows may be accepted.
 * - `fatal`: trying again does not help until a person changes something (a grant, a table, a password, the program).
 */
export type ErrorKind = "retryable" | "bad-data" | "fatal";

/** The database did not answer before our deadline. The server may have run the statement anyway. */
export class DeadlineError extends Error {
  override readonly name = "DeadlineError";
}

/** There was no session, or it was lost while a statement ran. The server may have run the statement anyway. */
export class ConnectionError extends Error {
  override readonly name: string = "ConnectionError";
}

/**
 * None of several hosts gave us a session. `errors` has one entry for each host, in the order in which they were tried.
 */
export class NoHostError extends ConnectionError {
  override readonly name = "NoHostError";
  readonly errors: readonly unknown[];

  constructor(message: string, errors: readonly unknown[]) {
    super(message);
    this.errors = errors;
  }
}

/**
 * The kind of each SQLSTATE (five characters) or class of SQLSTATEs (two characters). The entry of a SQLSTATE counts
 * more than the entry of its class. Without an entry, an error is `fatal`. Source: PostgreSQL documentation, appendix
 * A.
 */
export const kindBySqlState: Readonly<Record<string, ErrorKind>> = {
  "08": "retryable", // connection exceptions
  "08P01": "fatal", // protocol violation: client and server do not speak the same protocol
  "21": "bad-data", // cardinality violation: the same key twice in one ON CONFLICT statement
  "22": "bad-data",
  "2200H": "fatal", // the sequence of the ids has no number left
  "23": "fatal", // constraints, and a missing partition: see `isRuleOfTable`
  "25006": "retryable", // read-only: the primary was demoted, or this host is a standby
  "25P03": "retryable", // the server ended an idle transaction
  "25P04": "retryable", // transaction_timeout
  "40": "retryable", // serialization failure, deadlock, completion unknown
  "53": "retryable", // disk full, out of memory, too many connections
  "54": "bad-data", // too large or too complex: try fewer rows at once
  "55006": "retryable", // object in use
  "55P03": "retryable", // lock not available
  "57014": "retryable", // cancelled, also by statement_timeout
  "57P01": "retryable", // administrator's shutdown
  "57P02": "retryable", // crash shutdown
  "57P03": "retryable", // starting up or shutting down
  "57P05": "retryable", // idle_session_timeout
  "58": "retryable", // the server's own I/O errors
  XX000: "retryable", // bugs of the server; poolers also say it when they have lost their server
};

/** Error codes (`error.code`) of sockets and of the resolver that mean "not now". All other codes are fatal. */
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

/** Returns the SQLSTATE, five characters; undefined if the error did not come from the server. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof DatabaseError ? error.code : undefined;
}

/** Returns the kind of an error that a `Database` threw. An unknown error is `fatal`. */
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

/** SQLSTATEs and classes by which a table refuses a row, whatever the row's values are. */
const rulesOfTable = [
  "09", // a trigger
  "2200H", // the sequence
  "23", // a constraint, or a missing partition
  "27", // a trigger that changes the row again
  "44", // WITH CHECK OPTION
  "P0", // RAISE in a trigger
];

/**
 * Returns whether a table refuses a row by a rule of its own: a constraint, a trigger, a column or an id sequence that
 * the administrator has to mend. Then the row itself is right: it has to wait, and other rows may pass.
 */
export function isRuleOfTable(error: unknown): boolean {
  const state = sqlState(error);
  return state !== undefined && rulesOfTable.some((rule) => state.startsWith(rule));
}

/** Returns the unique index or constraint that was violated; undefined if there was none. */
export function violatedConstraint(error: unknown): string | undefined {
  return error instanceof DatabaseError ? error.constraint : undefined;
}

const failedStatements = new WeakMap<object, StatementName>();

/** Notes which statement failed with `error`, and returns the error. The first note stays, as the most precise one. */
export function failedAt(statement: StatementName, error: unknown): unknown {
  if (typeof error === "object" && error !== null && !failedStatements.has(error)) {
    failedStatements.set(error, statement);
  }
  return error;
}

/** Returns the statement that failed with this error or with its cause; undefined if none is noted. */
export function failedStatement(error: unknown): StatementName | undefined {
  if (typeof error !== "object" || error === null) return undefined;
  return failedStatements.get(error) ?? failedStatement((error as { cause?: unknown }).cause);
}

const maxMessageCharacters = 500;

/**
 * Returns one readable line about an error, for logs and `last_error`: the message with the SQLSTATE or errno. The line
 * never contains a password or values of a row: Postgres puts values into `detail`, which is left out.
 */
export function errorMessage(error: unknown): string {
  const code = sqlState(error) ?? (error as { code?: unknown } | null | undefined)?.code;
  const text = (error instanceof Error ? error.message || aggregated(error) : String(error))
    .replace(/\s+/g, " ")
    .slice(0, maxMessageCharacters);
  return typeof code === "string" && !text.includes(code) ? `${text} (${code})` : text;
}

/** For a host with several addresses, `net` throws an AggregateError that has no message of its own. */
function aggregated(error: Error): string {
  return error instanceof AggregateError ? error.errors.map(errorMessage).join("; ") : error.name;
}
