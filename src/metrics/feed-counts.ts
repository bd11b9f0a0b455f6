import { Counter, Gauge, type Registry } from "prom-client";

/** The values of the label `type` of `certwatch_ct_messages_total`. */
export const messageTypes = ["certificate_update", "heartbeat", "dns_entries", "other"] as const;
export type MessageType = (typeof messageTypes)[number];

/** The reasons for refusing a message: the values of the label `reason` of `certwatch_ct_messages_refused_total`. */
export const refusalReasons = [
  "too_large",
  "not_json",
  "not_an_object",
  "no_certificate",
  "internal_error",
] as const;
export type RefusalReason = (typeof refusalReasons)[number];

/** The counts of the path that reads the socket: plain numbers, copied into the registry when somebody scrapes it. */
export interface FeedCounts {
  messages: Record<MessageType, number>;
  refused: Record<RefusalReason, number>;
  /** The number of certificate updates whose log and index could not be read. */
  unaccounted: number;
  /** The time at which the last certificate update arrived, epoch milliseconds; 0 before the first. */
  lastCertificateUpdateMs: number;
  /** The number of entries that never arrived, for each CT log. */
  lostEntries: readonly { log: string; count: number }[];
  /** The time at which the last entry of each CT log arrived. */
  lastEntries: readonly { log: string; epochSeconds: number }[];
}

/** Returns counts that begin at 0, and registers the metrics that are copied from them. */
export function createFeedCounts(registry: Registry, prefix: string): FeedCounts {
  const counts: FeedCounts = {
    messages: { certificate_update: 0, heartbeat: 0, dns_entries: 0, other: 0 },
    refused: { too_large: 0, not_json: 0, not_an_object: 0, no_certificate: 0, internal_error: 0 },
    unaccounted: 0,
    lastCertificateUpdateMs: 0,
    lostEntries: [],
    lastEntries: [],
  };
  /** A metric whose values are copied from `counts` when somebody scrapes it; `label` is the name of its one label. */
  const copied = (
    Kind: typeof Counter<string> | typeof Gauge<string>,
    { name, help, label }: { name: string; help: string; label?: string },
    values: () => Iterable<readonly [string, number]>,
  ) =>
    new Kind({
      name: prefix + name,
      help,
      labelNames: label === undefined ? [] : [label],
      registers: [registry],
      collect() {
        this.reset();
        for (const [value, count] of values()) this.inc(label === undefined ? {} : { [label]: value }, count);
      },
    });

  copied(
    Counter,
    { name: "ct_messages_total", help: "Messages read from the feeds, by message_type.", label: "type" },
    () => Object.entries(counts.messages),
  );
  copied(
    Counter,
    {
      name: "ct_messages_refused_total",
      help: "Messages that were too large, could not be understood, or met a mistake in certwatch (internal_error).",
      label: "reason",
    },
    () => Object.entries(counts.refused),
  );
  copied(
    Counter,
    {
      name: "ct_gap_entries_total",
      help: "Entries that a log has and no feed delivered, by log.",
      label: "log",
    },
    () => counts.lostEntries.map(({ log, count }) => [log, count]),
  );
  copied(
    Gauge,
    {
      name: "ct_log_last_entry_timestamp_seconds",
      help: "When the last entry of a log arrived, epoch seconds, by log.",
      label: "log",
    },
    () => counts.lastEntries.map(({ log, epochSeconds }) => [log, epochSeconds]),
  );
  copied(
    Counter,
    {
      name: "ct_unaccounted_messages_total",
      help: "Certificate updates that do not say in a known way which entry of which log they are about.",
    },
    () => [["", counts.unaccounted]],
  );
  copied(
    Gauge,
    {
      name: "last_ct_event_timestamp_seconds",
      help: "When the last certificate update arrived, epoch seconds; 0 before the first.",
    },
    () => [["", counts.lastCertificateUpdateMs / 1000]],
  );
  return counts;
}
