import { DatabaseError } from "pg";
import { ConnectionError, DeadlineError } from "../../../src/db/errors.ts";
import type { Database } from "../../../src/db/pool.ts";
import type { ServiceStatement, StatementName } from "../../../src/db/statement-names.ts";
import type { Random } from "./seed.ts";

/** The two ways in which a write can fail. */
export const breakages = ["not persisted", "persisted, but reported as failed"] as const;
export type Breakage = (typeof breakages)[number];

/** Every statement of the outbox. */
export const outboxStatements = [
  "record certificates",
  "describe a table",
  "find by fingerprint",
  "find by TBS hash",
  "find by serial number",
  "find open incidents",
  "judge certificates",
  "find due certificates",
  "find the next judgement",
  "claim deliveries",
  "find the next delivery",
  "settle deliveries",
  "release deliveries",
  "give up expired claims",
  "adopt observed alerts",
  "prune alerts",
] as const satisfies readonly ServiceStatement[];
export type OutboxStatement = (typeof outboxStatements)[number];

/** A statement that is not in the list ends the test run, not only the loop that ran it: a new one has to be broken too. */
function inOutbox(name: StatementName): OutboxStatement {
  const found = outboxStatements.find((one) => one === name);
  if (found !== undefined) return found;
  const error = new Error(`the outbox runs the statement "${name}", which breakable.ts does not have`);
  setImmediate(() => {
    throw error;
  });
  throw error;
}

/**
 * A database whose statements fail where `choose` says so.
 *
 * @param choose gets the statement's name, and how many of its name there have been: 1 for the first.
 * @param onUnreported gets the rows that a statement returned and nobody heard of.
 */
export function breakable(
  db: Database,
  random: Random,
  choose: (statement: OutboxStatement, count: number) => Breakage | null,
  onUnreported: (statement: OutboxStatement, rows: unknown) => Promise<void>,
): Database {
  const counts = new Map<OutboxStatement, number>();
  const run = async <T>(name: StatementName, operation: () => Promise<T>): Promise<T> => {
    const statement = inOutbox(name);
    const count = (counts.get(statement) ?? 0) + 1;
    counts.set(statement, count);
    const breakage = choose(statement, count);
    if (breakage === null) return await operation();
    if (breakage === "not persisted") throw random.pick([lostConnection, pastDeadline, deadlock])();
    const rows = await operation();
    await onUnreported(statement, rows);
    // The server's own errors mean that nothing was done; these do not say.
    throw random.pick([lostConnection, pastDeadline])();
  };
  return {
    query: (sql, deadlineMs) => run(sql.name, () => db.query(sql, deadlineMs)),
    execute: (sql, deadlineMs) => run(sql.name, () => db.execute(sql, deadlineMs)),
    transaction: () => Promise.reject(new Error("the outbox uses no transactions of several statements")),
    end: () => db.end(),
  };
}

const lostConnection = () => new ConnectionError("broken by the test: the connection was lost");
const pastDeadline = () => new DeadlineError("broken by the test: the deadline passed");
const deadlock = () =>
  Object.assign(new DatabaseError("broken by the test: deadlock detected", 0, "error"), { code: "40P01" });
