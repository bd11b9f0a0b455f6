import { type Logger, RateLimitedLog } from "../log.ts";
import { errorKind, errorMessage, failedStatement } from "./errors.ts";

/**
 * Makes the error handler of one concern (recording, judging, ...). The handler only logs the error, at most once a
 * minute for each kind. The concern itself tries again.
 *
 * @param stop once this signal is aborted, failures are expected: then each failure is logged, as a warning.
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
