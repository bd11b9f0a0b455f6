import type { QueryResult } from "pg";
import { settledWithin } from "../loop.ts";
import { type Connector, createConnector } from "./connect.ts";
import type { Dsn } from "./dsn.ts";
import { ConnectionError, DeadlineError, failedAt, sqlState } from "./errors.ts";
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

/** A database that is connected to when it is needed, over several connections. */
export interface Database extends Queryable {
  /** Runs `work` on one connection between BEGIN and COMMIT; ROLLBACK when it throws. */
  transaction<T>(deadlineMs: number, work: (tx: Queryable) => Promise<T>): Promise<T>;
  /** Refuses what waits, gives what runs two seconds to finish, closes everything. May be called twice. */
  end(): Promise<void>;
}

/** A database that is reached through sessions of its own. */
export interface SessionPool extends Database {
  /**
   * How many sessions were lost so far. The next one may lead to another server, promoted after an asynchronous failover,
   * that lacks the last commits.
   */
  readonly lostSessions: number;
}

/** For statements under way when the pool is ended, and for a server to answer a goodbye. */
const closePatienceMs = 2000;

/**
 * Opens no connection yet. `pg`'s own pool is not used: it knows one host, one TLS setting, and one time-out
 * that does not depend on the query.
 * @throws DsnError where the DSN names certificates that cannot be read
 */
export function openPool(dsn: Dsn, { maxConnections = 4 }: { maxConnections?: number } = {}): SessionPool {
  return new Pool(createConnector(dsn), maxConnections);
}

interface Waiter {
  grant(session: Session | undefined): void;
  refuse(error: Error): void;
}

/** Owns every session: a session is idle, lent to one caller, or gone. `open` counts those and the ones being made. */
class Pool implements SessionPool {
  readonly #connector: Connector;
  readonly #maxConnections: number;
  readonly #idle: Session[] = [];
  readonly #lent = new Set<Session>();
  /** Gives up connections that are being made. */
  readonly #abort = new AbortController();
  readonly #waiters: Waiter[] = [];
  #open = 0;
  #lostSessions = 0;
  #ended: Promise<void> | undefined;
  #onAllClosed: () => void = () => {};

  constructor(connector: Connector, maxConnections: number) {
    this.#connector = connector;
    this.#maxConnections = maxConnections;
  }

  get lostSessions(): number {
    return this.#lostSessions;
  }

  async query<Row>(sql: Sql, deadlineMs: number): Promise<Row[]> {
    return this.#lend(
      sql.name,
      deadlineMs,
      async (session, until) => (await run(session, sql, until)).rows as Row[],
    );
  }

  async execute(sql: Sql, deadlineMs: number): Promise<number> {
    return this.#lend(
      sql.name,
      deadlineMs,
      async (session, until) => (await run(session, sql, until)).rowCount ?? 0,
    );
  }

  async transaction<T>(deadlineMs: number, work: (tx: Queryable) => Promise<T>): Promise<T> {
    const name = "transaction";
    return this.#lend(name, deadlineMs, async (session, until) => {
      const limit = (ms: number) => Math.min(until, performance.now() + ms);
      await run(session, { name, text: "BEGIN" }, until);
      try {
        const result = await work({
          query: async <Row>(sql: Sql, ms: number) => (await run(session, sql, limit(ms))).rows as Row[],
          execute: async (sql, ms) => (await run(session, sql, limit(ms))).rowCount ?? 0,
        });
        await run(session, { name, text: "COMMIT" }, until);
        return result;
      } catch (error) {
        await run(session, { name, text: "ROLLBACK" }, until).catch(() => session.destroy());
        throw error;
      }
    });
  }

  end(): Promise<void> {
    this.#ended ??= this.#close();
    return this.#ended;
  }

  async #close(): Promise<void> {
    for (const waiter of this.#waiters.splice(0)) waiter.refuse(closedError());
    const allClosed = new Promise<void>((resolve) => {
      this.#onAllClosed = resolve;
    });
    if (this.#open === 0) return;
    for (const session of this.#idle.splice(0)) void this.#closeSession(session);
    let asked: Promise<unknown> = Promise.resolve();
    const timer = setTimeout(() => {
      this.#abort.abort();
      asked = Promise.all([...this.#lent].map((session) => session.abandon()));
    }, closePatienceMs);
    await allClosed;
    clearTimeout(timer);
    await settledWithin(asked, closePatienceMs);
  }

  /** @param statement what the session is wanted for. */
  async #lend<T>(
    statement: StatementName,
    deadlineMs: number,
    work: (session: Session, until: number) => Promise<T>,
  ): Promise<T> {
    const until = performance.now() + deadlineMs;
    const session = await this.#session(statement, until).catch((error) => {
      throw failedAt(statement, error);
    });
    this.#lent.add(session);
    try {
      return await work(session, until);
    } finally {
      this.#lent.delete(session);
      this.#release(session);
    }
  }

  async #session(statement: StatementName, until: number): Promise<Session> {
    return (await this.#acquire(statement, until)) ?? (await this.#connect(until));
  }

  /** An idle session, or undefined: a free place, which the caller fills by `#connect`. */
  async #acquire(statement: StatementName, until: number): Promise<Session | undefined> {
    if (this.#ended !== undefined) throw closedError();
    const idle = this.#idle.pop();
    if (idle !== undefined) return idle;
    if (this.#open < this.#maxConnections) {
      this.#open++;
      return undefined;
    }
    return new Promise((resolve, reject) => {
      const refuse = (error: Error) => {
        clearTimeout(timer);
        reject(error);
      };
      const grant = (session: Session | undefined) => {
        clearTimeout(timer);
        resolve(session);
      };
      const waiter = { grant, refuse };
      const timer = setTimeout(() => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        const all = `all ${this.#maxConnections} database connections stayed busy`;
        refuse(new DeadlineError(`${all}: none became free for "${statement}" in time`));
      }, until - performance.now());
      this.#waiters.push(waiter);
    });
  }

  async #connect(until: number): Promise<Session> {
    try {
      const session = await this.#connector.connect(until - performance.now(), this.#abort.signal);
      session.onLost = () => this.#onLost(session);
      return session;
    } catch (error) {
      this.#freePlace();
      throw error;
    }
  }

  #release(session: Session): void {
    if (!session.alive) this.#freePlace();
    else if (this.#ended !== undefined) void this.#closeSession(session);
    else if (this.#waiters.length > 0) this.#waiters.shift()!.grant(session);
    else this.#idle.push(session);
  }

  /** The place of a lent one is freed by `#release`. */
  #onLost(session: Session): void {
    this.#lostSessions++;
    const index = this.#idle.indexOf(session);
    if (index < 0) return;
    this.#idle.splice(index, 1);
    this.#freePlace();
  }

  #freePlace(): void {
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) {
      waiter.grant(undefined);
    } else {
      this.#open--;
      if (this.#open === 0) this.#onAllClosed();
    }
  }

  /** Says goodbye, but does not wait long for a server that does not answer. */
  async #closeSession(session: Session): Promise<void> {
    const timer = setTimeout(() => session.destroy(), closePatienceMs);
    await session.client.end().catch(() => {});
    clearTimeout(timer);
    this.#freePlace();
  }
}

async function run(session: Session, { name, text, values }: Sql, until: number): Promise<QueryResult> {
  const limitMs = Math.max(0, until - performance.now());
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new DeadlineError(`the database did not answer "${name}" in time`));
      void session.abandon();
    }, limitMs);
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

function closedError(): Error {
  return new ConnectionError("the connections to the database are closed");
}
