import { settledWithin } from "../loop.ts";
import { type Connector, createConnector } from "./connect.ts";
import type { Dsn } from "./dsn.ts";
import { ConnectionError, DeadlineError, failedAt } from "./errors.ts";
import type { Session } from "./session.ts";
import { onSession, type Queryable, runTransaction, type Sql } from "./statement.ts";
import type { StatementName } from "./statement-names.ts";
import { WaitingLine } from "./waiting-line.ts";

/** A database behind several connections, which are opened when they are needed. */
export interface Database extends Queryable {
  /** Runs `work` on one connection, between BEGIN and COMMIT. If `work` throws, ROLLBACK follows. */
  transaction<T>(deadlineMs: number, work: (tx: Queryable) => Promise<T>): Promise<T>;
  /**
   * Refuses callers that wait for a connection, gives running statements two seconds to finish, and closes all
   * connections. Calling this twice is safe.
   */
  end(): Promise<void>;
}

/** A database whose sessions no other part uses, so that we know when a session is lost. */
export interface SessionPool extends Database {
  /**
   * How many sessions were lost so far. After a loss the next session may be on another server. If this server was
   * promoted by an asynchronous failover, it lacks the last commits.
   */
  readonly lostSessions: number;
}

/**
 * The time limit of each of three steps of `end`: running statements may take 2 s to finish; cancelling the others may
 * take 2 s more; and a server may take 2 s to close one session.
 */
const closePatienceMs = 2000;

/**
 * Makes a pool. It opens no connection yet. We do not use `pg`'s own pool, because that pool knows only one host, one
 * TLS setting, and one time-out for all statements.
 *
 * @throws DsnError if the DSN names a certificate file that cannot be read
 */
export function openPool(dsn: Dsn, { maxConnections = 4 }: { maxConnections?: number } = {}): SessionPool {
  return new Pool(createConnector(dsn), maxConnections);
}

/**
 * Owns every session. A session is idle, or lent to one caller, or gone. `#open` counts the sessions that are idle,
 * lent, or being opened.
 */
class Pool implements SessionPool {
  readonly #connector: Connector;
  readonly #maxConnections: number;
  readonly #idle: Session[] = [];
  readonly #lent = new Set<Session>();
  /** Aborting this gives up the connections that are being opened. */
  readonly #abort = new AbortController();
  /** The callers that found all places taken. Each gets an idle session, or undefined and may then open a session. */
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

  /**
   * Lends a session to `work`, and takes the session back afterwards.
   *
   * @param statement the statement that needs the session. The error names it if no session can be had.
   */
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

  /** Returns an idle session, or undefined if the caller may open a session with `#connect`. */
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

  /** Frees the place of a lost session that was idle. For a lent session, `#release` frees the place later. */
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

  /** Ends a session as the protocol wants it; if the server does not answer in time, just closes the connection. */
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
