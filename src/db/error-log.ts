import { type Logger, RateLimitedLog } from "../log.ts";
import { errorKind, errorMessage, failedStatement } from "./errors.ts";

/**
 * Makes the error handler of one concern (recording, judging, ...). It logs what the concern fails with, at most once a
 * minute for each kind of error; the concern itself tries again.
 *
 * @param stop once it is aborted, failures are expected: they are warnings, each of them logged.
 */
export function createErrorLog(log: Logger, concern: string, stop: AbortSignal): (error: unknown) => void {
  const quietLog = new RateLimitedLog();
  return (error) => {
    const kind = errorKind(error);
    const fields = { concern, kind, statement: failedStatement(error), error: errorMessage(error) };
    if (stop.aborted) {
      log.warn(fields, "failed while stopping");
      return;
    }
    quietLog.once(kind, (suppressed) => {
      log.error({ ...fields, suppressed }, `${concern} failed, will try again`);
    });
  };
}
