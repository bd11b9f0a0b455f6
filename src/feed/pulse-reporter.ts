import type { Logger } from "../log.ts";
import { Loop } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import type { LogPulse, SilentLog } from "./log-pulse.ts";

const intervalMs = 1_000;
/** The greatest number of silent logs that `/healthz` names. */
const maxNamed = 20;

const logFields = ({ logUrl, lastMs, entries }: SilentLog) => ({
  log_url: logUrl,
  last_entry_at: new Date(lastMs).toISOString(),
  entries_in_24h: entries,
});

/** Follows each log's pulse, and says when a log falls silent and when it speaks again. */
export function createPulseReporter(options: { pulse: LogPulse; log: Logger; metrics: Metrics }): Loop {
  const { pulse, log, metrics } = options;
  const step = async () => {
    const nowMs = Date.now();
    pulse.step(nowMs);
    const { fellSilent, spokeAgain } = pulse.takeChanges();
    for (const each of fellSilent)
      log.warn(
        logFields(each),
        "this CT log has fallen silent while the feed brings others: the certstream server may have stopped following it. Restart the server, and look whether the log still answers",
      );
    for (const each of spokeAgain) log.info(logFields(each), "this CT log speaks again");
    metrics.feedCounts.lastEntries = pulse.lastEntries();
    metrics.logsSilent.set(pulse.silent().length);
    metrics.logsHeard.set(pulse.heardInADay(nowMs));
    return intervalMs;
  };
  const onError = (error: unknown) => log.error({ err: error }, "following the CT logs failed");
  return new Loop({ name: "log pulse", step, onError });
}

/** Returns a sentence for each silent log, for `/healthz`. */
export function silenceWarnings(pulse: LogPulse): string[] {
  const silent = pulse.silent();
  const sentences = silent
    .slice(0, maxNamed)
    .map(({ logUrl, lastMs }) => `the CT log ${logUrl} is silent since ${new Date(lastMs).toISOString()}`);
  const untold = silent.length - sentences.length;
  return untold > 0 ? [...sentences, `${untold} more CT logs are silent`] : sentences;
}
