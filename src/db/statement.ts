import type { QueryResult } from "pg";
import { DeadlineError, failedAt, sqlState } from "./errors.ts";
import { explainError, type Session } from "./session.ts";
import type { StatementName } from "./statement-names.ts";

/**
 * One statement. `name` is for people, in messages, logs and metrics. The server never sees this name, because we
 * prepare no statement under a name. So poolers in transaction mode work, and so does the embedded database, where all
 * clients share one session.
 */
export interface Sql {
  name: StatementName;
  text: string;
  values?: readonly unknown[];
}

/**
 * Runs statements. Every call ends within its deadline, even if the server or the network does not answer. The deadline
 * covers waiting for a free connection, connecting, and running. At the deadline we destroy the connection and ask the
 * server to end the statement, which may have taken effect anyway.
 *
 * Errors are `DeadlineError`, `ConnectionError`, errors of the socket, or the server's own errors. `errorKind` says
 * what to do about an error, `failedStatement` which statement failed.
 *
 * A statement without values may hold several commands; they run as one transaction.
 */
export interface Queryable {
  /** Returns the rows of the statement. int8 values are numbers, json values are parsed. */
  query<Row>(sql: Sql, deadlineMs: number): Promise<Row[]>;
  /** Returns how many rows the statement read or changed. */
  execute(sql: Sql, deadlineMs: number): Promise<number>;
}

/**
 * Runs statements on one session, which nobody else may use meanwhile. Each statement ends within its own deadline, and
 * all of them by `untilMs`, a time of `performance.now()`.
 */
export function onSession(session: Session, untilMs: number): Queryable {
  const run = (sql: Sql, deadlineMs: number) =>
    runStatement(session, sql, Math.min(untilMs, performance.now() + deadlineMs));
  return {
    query: async <Row>(sql: Sql, deadlineMs: number) => (await run(sql, deadlineMs)).rows as Row[],
    execute: async (sql, deadlineMs) => (await run(sql, deadlineMs)).rowCount ?? 0,
  };
}

/**
 * Runs `work` between BEGIN and COMMIT. If `work` throws, ROLLBACK follows; if ROLLBACK fails as well, the session is
 * destroyed.
 */
export async function runTransaction<T>(
  session: Session,
  untilMs: number,
  work: (tx: Queryable) => Promise<T>,
): Promise<T> {
  const control = (text: string) => runStatement(session, { name: "transaction", text }, untilMs);
  await control("BEGIN");
  try {
    const result = await work(onSession(session, untilMs));
    await control("COMMIT");
    return result;
  } catch (error) {
    await control("ROLLBACK").catch(() => session.destroy());
    throw error;
  }
}

/**
 * Runs a statement on a session that nobody else uses.
 *
 * @param untilMs the deadline, by `performance.now()`. Then we destroy the session and ask the server to end the
 *   statement, which may have taken effect anyway.
 * @throws DeadlineError, ConnectionError, or the server's own error. `failedStatement` returns the statement's name.
 */
async function runStatement(
  session: Session,
  { name, text, values }: Sql,
  untilMs: number,
): Promise<QueryResult> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => {
        reject(new DeadlineError(`the database did not answer "${name}" in time`));
        void session.abandon();
      },
      Math.max(0, untilMs - performance.now()),
    );
  });
  const answer = session.client.query(values === undefined ? { text } : { text, values: [...values] });
  try {
    return await Promise.race([answer, deadline]);
  } catch (error) {
    if (!session.alive) throw failedAt(name, explainError(error));
    if (!leavesSessionGood(error)) session.destroy();
    throw failedAt(name, error);
  } finally {
    clearTimeout(timer);
    answer.catch(() => {}); // after the deadline nobody waits for it: avoid an unhandled rejection
  }
}

/**
 * Whether the session can be used again after this error. Not after 25006 (read-only): a new connection has to find the
 * primary. Not after the other codes in the pattern either: after them the server closes the connection.
 */
function leavesSessionGood(error: unknown): boolean {
  const state = sqlState(error);
  return state !== undefined && !/^(25006|25P0[34]|08...|57P..)$/.test(state);
}
