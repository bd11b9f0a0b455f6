import type { Logger } from "../log.ts";
import { interruptibleSleep } from "../loop.ts";
import { checkSchema, SchemaError } from "./check-schema.ts";
import { errorKind, errorMessage } from "./errors.ts";
import { DatabaseUnusableError } from "./open.ts";
import type { Database } from "./pool.ts";

const deadlineMs = 10_000;
const retryMs = 1_000;

/**
 * Waits until the database answers, `patienceMs` at most, then checks that the database has all that the service needs.
 *
 * @throws DatabaseUnusableError if the database does not answer in time, refuses certwatch for good, or lacks a table,
 *   column or privilege; the reason of `signal` if the signal is aborted.
 */
export async function waitUntilUsable(
  db: Database,
  { patienceMs, log, signal }: { patienceMs: number; log: Logger; signal: AbortSignal },
): Promise<void> {
  const endMs = performance.now() + patienceMs;
  for (let attempt = 1; ; attempt += 1) {
    try {
      await checkSchema(db, Math.min(deadlineMs, Math.max(endMs - performance.now(), 1)));
      return;
    } catch (error) {
      throwUnlessTransient(error);
      signal.throwIfAborted();
      if (performance.now() + retryMs > endMs) {
        throw new DatabaseUnusableError(
          `the database did not become reachable within ${patienceMs / 1000} s: ${errorMessage(error)}. Is it running, and is POSTGRES_DSN right?`,
        );
      }
      if (attempt === 1)
        log.warn(
          { error: errorMessage(error) },
          "the database cannot be reached yet: certwatch tries for a minute",
        );
      await interruptibleSleep(retryMs, signal);
    }
  }
}

/** @throws DatabaseUnusableError if waiting does not help. */
function throwUnlessTransient(error: unknown): void {
  if (error instanceof SchemaError) throw new DatabaseUnusableError(error.message);
  if (errorKind(error) === "fatal") {
    throw new DatabaseUnusableError(
      `the database refuses certwatch: ${errorMessage(error)}. Check POSTGRES_DSN`,
    );
  }
}
