import { DatabaseError } from "pg";
import { ConnectionError, DeadlineError } from "../../../src/db/errors.ts";
import type { Database } from "../../../src/db/pool.ts";
import type { Random } from "./seed.ts";

/** The two ways in which a write can fail. */
export const breakages = ["not persisted", "persisted, but reported as failed"] as const;
export type Breakage = (typeof breakages)[number];

/** Every statement of the outbox, by what is peculiar to its text. */
const statements = {
  record: /INSERT INTO public\.alerts \(certificate_key/,
  "look for the column": /FROM pg_attribute/,
  "find in the inventory": /(FROM|JOIN) public\.certs/, // by fingerprint, TBS hash and serial number, in turn
  judge: /WITH judged AS/,
  "find due certificates": /AND judge_at <= now\(\)/,
  "time of the next judgement": /min\(judge_at\)/,
  claim: /WITH due AS/,
  "time of the next delivery": /min\(GREATEST\(next_attempt_at/,
  settle: /SET delivered = o\.delivered/,
  release: /UPDATE public\.alerts SET lease_until = NULL/,
  "give up expired claims": /times without an outcome/,
  "adopt observed": /UPDATE public\.alerts SET next_attempt_at = now\(\)/,
  prune: /WITH deleted AS/,
};
export type StatementName = keyof typeof statements;
export const statementNames = Object.keys(statements) as StatementName[];

/** A statement without a name ends the test run, not only the loop that ran it: a new one has to be broken too. */
function nameOf(text: string): StatementName {
  const found = statementNames.filter((name) => statements[name].test(text));
  if (found.length === 1) return found[0]!;
  const error = new Error(
    `breakable.ts has ${found.length} names (${found.join(", ")}) for the statement ${text}`,
  );
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
  choose: (statement: StatementName, count: number) => Breakage | null,
  onUnreported: (statement: StatementName, rows: unknown) => Promise<void>,
): Database {
  const counts = new Map<StatementName, number>();
  const run = async <T>(text: string, operation: () => Promise<T>): Promise<T> => {
    const statement = nameOf(text);
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
    query: (sql, deadlineMs) => run(sql.text, () => db.query(sql, deadlineMs)),
    execute: (sql, deadlineMs) => run(sql.text, () => db.execute(sql, deadlineMs)),
    transaction: () => Promise.reject(new Error("the outbox uses no transactions of several statements")),
    end: () => db.end(),
  };
}

const lostConnection = () => new ConnectionError("broken by the test: the connection was lost");
const pastDeadline = () => new DeadlineError("broken by the test: the deadline passed");
const deadlock = () =>
  Object.assign(new DatabaseError("broken by the test: deadlock detected", 0, "error"), { code: "40P01" });
