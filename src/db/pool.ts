import { settledWithin } from "../loop.ts";
import { type Connector, createConnector } from "./connect.ts";
import type { Dsn } from "./dsn.ts";
import { ConnectionError, DeadlineError, failedAt } from "./errors.ts";
import type { Session } from "./session.ts";
import { onSession, type Queryable, runTransaction, type Sql } from "./statement.ts";
import type { StatementName } from "./statement-names.ts";
import { WaitingLine } from "./waiting-line.ts";

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

/** Owns every session: a session is idle, lent to one caller, or gone. `open` counts those and the ones being made. */
class Pool implements SessionPool {
  readonly #connector: Connector;
  readonly #maxConnections: number;
  readonly #idle: Session[] = [];
  readonly #lent = new Set<Session>();
  /** Gives up connections that are being made. */
  readonly #abort = new AbortController();
  /** Those who find all places taken. They are handed an idle session, or undefined: a free place. */
  readonly #line = new WaitingLine<Session | undefined>();
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

  query<Row>(sql: Sql, deadlineMs: number): Promise<Row[]> {
    return this.#lend(sql.name, deadlineMs, (session, untilMs) =>
      onSession(session, untilMs).query<Row>(sql, deadlineMs),
    );
  }

  execute(sql: Sql, deadlineMs: number): Promise<number> {
    return this.#lend(sql.name, deadlineMs, (session, untilMs) =>
      onSession(session, untilMs).execute(sql, deadlineMs),
    );
  }

  transaction<T>(deadlineMs: number, work: (tx: Queryable) => Promise<T>): Promise<T> {
    return this.#lend("transaction", deadlineMs, (session, untilMs) =>
      runTransaction(session, untilMs, work),
    );
  }

  end(): Promise<void> {
    this.#ended ??= this.#close();
    return this.#ended;
  }

  async #close(): Promise<void> {
    this.#line.refuseAll(closedError);
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
    work: (session: Session, untilMs: number) => Promise<T>,
  ): Promise<T> {
    const untilMs = performance.now() + deadlineMs;
    const session = await this.#session(statement, untilMs).catch((error) => {
      throw failedAt(statement, error);
    });
    this.#lent.add(session);
    try {
      return await work(session, untilMs);
    } finally {
      this.#lent.delete(session);
      this.#release(session);
    }
  }

  async #session(statement: StatementName, untilMs: number): Promise<Session> {
    return (await this.#acquire(statement, untilMs)) ?? (await this.#connect(untilMs));
  }

  /** An idle session, or undefined: a free place, which the caller fills by `#connect`. */
  async #acquire(statement: StatementName, untilMs: number): Promise<Session | undefined> {
    if (this.#ended !== undefined) throw closedError();
    const idle = this.#idle.pop();
    if (idle !== undefined) return idle;
    if (this.#open < this.#maxConnections) {
      this.#open++;
      return undefined;
    }
    const all = `all ${this.#maxConnections} database connections stayed busy`;
    return this.#line.wait(
      untilMs,
      () => new DeadlineError(`${all}: none became free for "${statement}" in time`),
    );
  }

  async #connect(untilMs: number): Promise<Session> {
    try {
      const session = await this.#connector.connect(untilMs - performance.now(), this.#abort.signal);
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
    else if (!this.#line.serve(session)) this.#idle.push(session);
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
    if (this.#line.serve(undefined)) return;
    this.#open--;
    if (this.#open === 0) this.#onAllClosed();
  }

  /** Says goodbye, but does not wait long for a server that does not answer. */
  async #closeSession(session: Session): Promise<void> {
    const timer = setTimeout(() => session.destroy(), closePatienceMs);
    await session.client.end().catch(() => {});
    clearTimeout(timer);
    this.#freePlace();
  }
}

function closedError(): Error {
  return new ConnectionError("the connections to the database are closed");
}
