import type { QueryResult } from "pg";
import { DeadlineError, failedAt, sqlState } from "./errors.ts";
import { explainError, type Session } from "./session.ts";
import type { StatementName } from "./statement-names.ts";

/**
 * One statement. `name` is for people: it is in messages, logs and metrics. The server never sees it, because nothing
 * is prepared under a name. So poolers in transaction mode work, and so does the embedded database, where all clients
 * share one session.
 */
export interface Sql {
  name: StatementName;
  text: string;
  values?: readonly unknown[];
}

/**
 * Runs statements. Every call ends within its deadline, whatever state the server and the network are in. The deadline
 * covers waiting for a free connection, connecting, and running. When it passes, the connection is destroyed and the
 * server is asked to end the statement, which may have taken effect all the same.
 *
 * Errors are `DeadlineError`, `ConnectionError`, errors of the socket, or the server's own. `errorKind` says what to do
 * about each, `failedStatement` which statement it was.
 *
 * A statement without values may hold several commands; they run as one transaction.
 */
export interface Queryable {
  /** Returns the rows of the statement. int8 comes as a number, json as a value. */
  query<Row>(sql: Sql, deadlineMs: number): Promise<Row[]>;
  /** Returns how many rows the statement read or changed. */
  execute(sql: Sql, deadlineMs: number): Promise<number>;
}

/**
 * Runs statements on one session, which nobody else may use meanwhile. Each ends within its own deadline, and all of
 * them by `untilMs`.
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
 * Runs `work` between BEGIN and COMMIT. When `work` throws, ROLLBACK follows; when that fails as well, the session is
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
 * @param untilMs the deadline, by `performance.now()`. When it passes, the session is destroyed and the server is asked
 *   to end the statement, which may have taken effect all the same.
 * @throws DeadlineError, ConnectionError, or the server's own error. `failedStatement` knows the name for each.
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
 * Whether the session can be used again after this error. Not after 25006: the next connection has to look for the
 * primary anew. Not after the others either: the server closes the connection.
 */
function leavesSessionGood(error: unknown): boolean {
  const state = sqlState(error);
  return state !== undefined && !/^(25006|25P0[34]|08...|57P..)$/.test(state);
}
