import type { Logger } from "../log.ts";
import { Loop } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import type { Gap, GapAccounting } from "./gaps.ts";

const settleIntervalMs = 1_000;
const reportIntervalMs = 60_000;
/** The greatest number of gaps that one log line names. */
const maxNamed = 20;

const logFields = ({ logUrl, first, last }: Gap) => ({ log_url: logUrl, first, last });

/** Settles the gaps of the feeds once a second, and logs the gaps that were closed, in one line a minute at most. */
export function createGapReporter(options: { gaps: GapAccounting; log: Logger; metrics: Metrics }): Loop {
  const { gaps, log, metrics } = options;
  let nextReportMs = 0;
  const step = async () => {
    const nowMs = performance.now();
    gaps.settle(nowMs);
    metrics.feedCounts.lostEntries = gaps.lostEntries();
    if (nowMs >= nextReportMs) {
      nextReportMs = nowMs + reportIntervalMs;
      const closed = gaps.takeClosedGaps();
      if (closed.gaps.length > 0) {
        const untold = closed.untold + Math.max(closed.gaps.length - maxNamed, 0);
        log.warn(
          { gaps: closed.gaps.slice(0, maxNamed).map(logFields), untold },
          "entries of these logs never arrived: the connection was too slow, the certstream server was restarted, or it cannot parse these certificates (a second server of another kind can)",
        );
      }
    }
    return settleIntervalMs;
  };
  return new Loop({
    name: "gap accounting",
    step,
    onError: (error) => log.error({ err: error }, "counting gaps failed"),
  });
}
