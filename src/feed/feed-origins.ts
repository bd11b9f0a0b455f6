import type { Logger } from "../log.ts";
import type { FeedCounts } from "../metrics/feed-counts.ts";
import { type CtLogs, maxLogs, noLog, unreadable } from "./ct-logs.ts";
import type { GapAccounting } from "./gaps.ts";
import { OriginReader } from "./origin.ts";

/**
 * Notes which entry of which CT log each message of one feed is about.
 *
 * A feed is counted whole or not at all. In these cases a missing index of this feed means nothing, and its messages
 * only fill the gaps of other feeds, until certwatch starts again:
 * - The server removes duplicates across logs.
 * - The log and index of a message cannot be read from its bytes, because the server writes messages of another shape.
 *   Most messages are never parsed, so the entries that such messages are about would look missing.
 *
 * In both cases the log says so once.
 */
export class FeedOrigins {
  readonly #options: { name: string; log: Logger; counts: FeedCounts; gaps: GapAccounting };
  /** For each number of a log, how many messages of this feed were about it. */
  readonly heard = new Float64Array(maxLogs);
  readonly #logs: CtLogs;
  readonly #reader: OriginReader;
  #isCounted = true;

  constructor(options: { name: string; log: Logger; counts: FeedCounts; gaps: GapAccounting; logs: CtLogs }) {
    this.#options = options;
    this.#logs = options.logs;
    this.#reader = new OriginReader(options.logs);
  }

  /** Takes one certificate update as received. Allocates nothing. */
  note(message: Buffer): void {
    const { gaps, counts } = this.#options;
    const log = this.#reader.read(message);
    if (log === unreadable || log === noLog) {
      counts.unaccounted += 1;
      if (log === unreadable && this.#isCounted) this.#stopCounting();
      return;
    }
    this.heard[log]! += 1;
    this.#logs.strengths[log]! += 1;
    if (this.#reader.isDeduplicated && this.#isCounted) this.#explainDeduplicated();
    if (this.#isCounted) gaps.observe(log, this.#reader.index);
    else gaps.observeWithoutGaps(log, this.#reader.index);
  }

  #stopCounting(): void {
    this.#isCounted = false;
    this.#options.gaps.forgetOpenRanges();
    this.#options.log.warn(
      { feed: this.#options.name },
      "messages of this feed do not say in a known way which entry of which CT log they are about, so certwatch cannot tell whether this feed loses entries: certificates are matched as always. Use a server and version that the README, section 'A certstream server', lists, or a second feed",
    );
  }

  #explainDeduplicated(): void {
    this.#isCounted = false;
    this.#options.log.info(
      { feed: this.#options.name },
      "the server of this feed removes duplicates across logs: certwatch cannot tell removed entries from lost ones, so it counts no gaps of this feed",
    );
  }
}
