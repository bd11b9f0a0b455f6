import type { Queryable } from "../../db/statement.ts";
import { counted, fitsRead, rowBytesOf } from "./row-bytes.ts";

/** A row of `public.alerts` for a person to read. Rows that the Python service wrote have no basis and no reason. */
export interface AlertRow {
  id: number;
  /** The time at which certwatch recorded the row; in rows of the Python service, `seen_at`. Epoch seconds. */
  at: number;
  severity: string;
  state: AlertState;
  names: unknown;
  matched: unknown;
  issuer: string | null;
  basis: string | null;
  reason: string | null;
  fingerprint: string;
  issuance_id: string | null;
  seen_at: number;
  attempts: number;
  last_error: string | null;
}

/**
 * The state of an alert. `in grace`: not judged yet. `waiting`: waits for its delivery. `observed`: recorded in
 * observer mode, not to be delivered. `not delivered`: the Python service did not deliver this row, and nobody will.
 */
export type AlertState = "in grace" | "waiting" | "delivered" | "given up" | "observed" | "not delivered";

const state = `
  CASE WHEN delivered THEN 'delivered'
       WHEN severity = 'pending' THEN 'in grace'
       WHEN next_attempt_at IS NOT NULL THEN 'waiting'
       WHEN given_up_at IS NOT NULL THEN 'given up'
       WHEN recorded_at IS NULL THEN 'not delivered'
       ELSE 'observed' END`;

/** How many rows one statement reads at most. */
const pageSize = 1_000;

/**
 * Reads the newest alerts, newest first, in pages: each as many as have 8 MB together, or one.
 *
 * @param options.severity `info`, `suspicious` or `pending`; `null`: all three.
 * @param options.sinceEpochSeconds leaves out alerts whose `at` is earlier; `null`: leaves out none.
 */
export async function* listAlerts(db: Queryable, options: ListOptions): AsyncGenerator<AlertRow[]> {
  let beforeId = Number.MAX_SAFE_INTEGER;
  for (let left = options.limit; left > 0; ) {
    const page = await readPage(db, { ...options, limit: Math.min(left, pageSize), beforeId });
    if (page.length === 0) return;
    yield page;
    left -= page.length;
    beforeId = page.at(-1)!.id;
  }
}

interface ListOptions {
  severity: string | null;
  sinceEpochSeconds: number | null;
  limit: number;
  deadlineMs: number;
}

async function readPage(db: Queryable, options: ListOptions & { beforeId: number }): Promise<AlertRow[]> {
  return await db.query<AlertRow>(
    {
      name: "list alerts",
      text: `
        WITH newest AS (
          SELECT a.id, ${rowBytesOf("a")} AS bytes FROM public.alerts a
          WHERE ($1::text IS NULL OR a.severity = $1)
            AND ($2::float8 IS NULL OR COALESCE(EXTRACT(EPOCH FROM a.recorded_at)::float8, a.seen_at) >= $2)
            AND a.id < $4
          ORDER BY a.id DESC LIMIT $3
        ), ${counted("newest", "id DESC")}
        SELECT a.id, COALESCE(EXTRACT(EPOCH FROM recorded_at), seen_at)::float8 AS at, severity, ${state} AS state,
               COALESCE(payload -> 'matched_sans'::text, sans) AS names, matched, issuer, match_basis AS basis, reason,
               fingerprint, issuance_id, seen_at, attempts, last_error
        FROM counted c JOIN public.alerts a ON a.id = c.id
        WHERE ${fitsRead}
        ORDER BY c.place`,
      values: [options.severity, options.sinceEpochSeconds, options.limit, options.beforeId],
    },
    options.deadlineMs,
  );
}
