import type { Metrics } from "../metrics.ts";
import { errorKind, errorMessage } from "./errors.ts";
import type { Database } from "./pool.ts";

/** How the database is doing, as far as the last operation tells. */
export interface DatabaseHealth {
  /** One line; `null` after a success. */
  lastProblem: string | null;
}

/** Passes everything on to `db`, counts what fails, and remembers whether the last operation did. */
export function observeDatabase(db: Database, metrics: Metrics): { db: Database; health: DatabaseHealth } {
  const health: DatabaseHealth = { lastProblem: null };
  const observed = async <T>(operation: Promise<T>): Promise<T> => {
    try {
      const result = await operation;
      health.lastProblem = null;
      return result;
    } catch (error) {
      health.lastProblem = errorMessage(error);
      metrics.databaseErrors.inc({ kind: errorKind(error) });
      throw error;
    }
  };
  return {
    health,
    db: {
      query: (sql, deadlineMs) => observed(db.query(sql, deadlineMs)),
      execute: (sql, deadlineMs) => observed(db.execute(sql, deadlineMs)),
      transaction: (deadlineMs, work) => observed(db.transaction(deadlineMs, work)),
      end: () => db.end(),
    },
  };
}
