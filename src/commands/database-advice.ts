import type { Config } from "../config.ts";
import { errorKind, errorMessage, failedStatement, sqlState } from "../db/errors.ts";
import { DatabaseUnusableError } from "../db/open.ts";
import type { Database } from "../db/pool.ts";

/**
 * Returns a database that passes every call on to `db`. If a statement fails, the returned database throws a
 * `DatabaseUnusableError` that says what to do. The cause of this error is the database's own error.
 */
export function withAdvice(db: Database, config: Config): Database {
  const explain = (error: unknown): never => {
    throw failedStatement(error) === undefined ? error : explained(error, config);
  };
  return {
    query: (sql, deadlineMs) => db.query<never>(sql, deadlineMs).catch(explain),
    execute: (sql, deadlineMs) => db.execute(sql, deadlineMs).catch(explain),
    transaction: (deadlineMs, work) => db.transaction(deadlineMs, work).catch(explain),
    end: () => db.end(),
  };
}

function explained(error: unknown, config: Config): DatabaseUnusableError {
  const advice = adviceFor(error, config);
  return new DatabaseUnusableError(`the database: ${errorMessage(error)}${advice && `. ${advice}`}`, {
    cause: error,
  });
}

const adviceByState: Record<string, string> = {
  "42P01": 'Create the tables with "certwatch migrate"',
  "42703": 'If this is a table of certwatch\'s, bring it up to date with "certwatch migrate"',
  "42501": "Have the owner grant it to this role, or use a role in POSTGRES_DSN that may",
  "55P03": "Something else holds a lock on the table: try again later",
};

function adviceFor(error: unknown, config: Config): string {
  const state = sqlState(error);
  if (state !== undefined && adviceByState[state] !== undefined) return adviceByState[state];
  if (config.embedded) return "";
  const isUnreachable = state === undefined || errorKind(error) === "retryable" || /^(28|3D)/.test(state);
  return isUnreachable ? "Is it running, and is POSTGRES_DSN right?" : "";
}
