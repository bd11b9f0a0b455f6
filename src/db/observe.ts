import type { Metrics } from "../metrics.ts";
import { errorKind, errorMessage, failedStatement } from "./errors.ts";
import type { Database } from "./pool.ts";
import type { Queryable } from "./statement.ts";
import { type ServiceStatement, type StatementName, serviceStatements } from "./statement-names.ts";

/** Whether the last operation on the database worked. */
export interface DatabaseHealth {
  /** The error of the last operation, in one line; `null` if the last operation succeeded. */
  lastProblem: string | null;
}

/**
 * Wraps `db`: measures every statement, counts failed operations, and remembers whether the last operation failed. A
 * transaction is one operation. A failed transaction counts once, for the statement in it that failed.
 */
export function observeDatabase(db: Database, metrics: Metrics): { db: Database; health: DatabaseHealth } {
  const { databaseErrors, databaseStatementErrors, databaseStatementDuration } = metrics;
  for (const statement of serviceStatements) {
    databaseStatementErrors.inc({ statement }, 0);
    databaseStatementDuration.zero({ statement });
  }
  const health: DatabaseHealth = { lastProblem: null };

  const measured = async <T>(statement: StatementName, run: () => Promise<T>): Promise<T> => {
    const startMs = performance.now();
    try {
      return await run();
    } finally {
      const seconds = (performance.now() - startMs) / 1000;
      if (isOfService(statement)) databaseStatementDuration.observe({ statement }, seconds);
    }
  };
  const observed = async <T>(statement: StatementName, run: () => Promise<T>): Promise<T> => {
    try {
      const result = await measured(statement, run);
      health.lastProblem = null;
      return result;
    } catch (error) {
      health.lastProblem = errorMessage(error);
      databaseErrors.inc({ kind: errorKind(error) });
      const failed = failedStatement(error) ?? statement;
      if (isOfService(failed)) databaseStatementErrors.inc({ statement: failed });
      throw error;
    }
  };
  const measuredInTransaction = (tx: Queryable): Queryable => ({
    query: (sql, deadlineMs) => measured(sql.name, () => tx.query(sql, deadlineMs)),
    execute: (sql, deadlineMs) => measured(sql.name, () => tx.execute(sql, deadlineMs)),
  });
  return {
    health,
    db: {
      query: (sql, deadlineMs) => observed(sql.name, () => db.query(sql, deadlineMs)),
      execute: (sql, deadlineMs) => observed(sql.name, () => db.execute(sql, deadlineMs)),
      transaction: (deadlineMs, work) =>
        observed("transaction", () => db.transaction(deadlineMs, (tx) => work(measuredInTransaction(tx)))),
      end: () => db.end(),
    },
  };
}

/** Whether a statement has a series in the metrics. Only statements of the service do, so the label set is closed. */
const isOfService = (name: StatementName): name is ServiceStatement =>
  (serviceStatements as readonly StatementName[]).includes(name);
