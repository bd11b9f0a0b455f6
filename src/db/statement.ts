import type { QueryResult } from "pg";
import { DeadlineError, failedAt, sqlState } from "./errors.ts";
import { explainError, type Session } from "./session.ts";
import type { StatementName } from "./statement-names.ts";

/**
 * One statement. `name` is what people read in messages, logs and metrics. The server never hears it: nothing is prepared
 * there under a name, so that poolers in transaction mode and the embedded database (one session for all) work.
 */
export interface Sql {
  name: StatementName;
  text: string;
  values?: readonly unknown[];
}

/**
 * Runs statements. Every call settles within its deadline, whatever state the server and the network are in:
 * the time covers waiting for a free connection, connecting, and running. After the deadline the connection is
 * destroyed, the server is asked to end the statement, and it is unknown whether that took effect.
 *
 * Errors: `DeadlineError`, `ConnectionError`, socket errors, or the server's own; see `errorKind`. `failedStatement` tells
 * which statement failed.
 * A statement without values may hold several commands, which run as one transaction.
 */
export interface Queryable {
  /** The rows that the statement returns. int8 comes as a number, json as a value. */
  query<Row>(sql: Sql, deadlineMs: number): Promise<Row[]>;
  /** The number of rows that the statement touched. */
  execute(sql: Sql, deadlineMs: number): Promise<number>;
}

/** Statements on a session that nobody else uses, each within its own deadline and all of them by `untilMs`. */
export function onSession(session: Session, untilMs: number): Queryable {
  const run = (sql: Sql, deadlineMs: number) =>
    runStatement(session, sql, Math.min(untilMs, performance.now() + deadlineMs));
  return {
    query: async <Row>(sql: Sql, deadlineMs: number) => (await run(sql, deadlineMs)).rows as Row[],
    execute: async (sql, deadlineMs) => (await run(sql, deadlineMs)).rowCount ?? 0,
  };
}

/** Runs `work` between BEGIN and COMMIT; ROLLBACK when it throws, and the session goes where that fails. */
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
 * @param untilMs by `performance.now()`. When it has passed, the session is destroyed and the server is asked to end the
 *   statement; whether that took effect is unknown.
 * @throws DeadlineError, ConnectionError, or the server's own error; `failedStatement` has the name for each.
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
    answer.catch(() => {}); // after the deadline nobody listens any more
  }
}

/** After 25006 the next connection must look for the primary anew; after the others the server hangs up. */
function leavesSessionGood(error: unknown): boolean {
  const state = sqlState(error);
  return state !== undefined && !/^(25006|25P0[34]|08...|57P..)$/.test(state);
}
