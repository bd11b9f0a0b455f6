import { pino } from "pino";
import { Deliverer } from "../../../src/alerts/deliver.ts";
import { concurrency } from "../../../src/alerts/held-events.ts";
import { Judge } from "../../../src/alerts/judge.ts";
import { createPruner } from "../../../src/alerts/prune.ts";
import { Recorder } from "../../../src/alerts/record.ts";
import { WebhookSender } from "../../../src/alerts/webhook.ts";
import type { Database } from "../../../src/db/pool.ts";
import { wireMessage } from "../../../src/demo/wire.ts";
import { parseMessage } from "../../../src/feed/message.ts";
import { createMetrics } from "../../../src/metrics.ts";
import { entryOf, type Item, watched } from "./stock.ts";

/** The part of the service behind the feed, in this process, as `service.ts` wires it. */
export interface Pipeline {
  /** Takes all that is to be sent of an item, or these certificates of it. */
  take(item: Item, kinds?: Item["kinds"]): void;
  /** Looks for due deliveries now. */
  wakeDelivery(): void;
  /** What the concerns failed with. */
  readonly errors: readonly unknown[];
  /** Deliverer first, as far as it comes within `attemptMs`; resolves with the number of certificates lost. */
  stop(attemptMs?: number): Promise<number>;
}

export function startPipeline(options: {
  db: Database;
  lostSessions: () => number;
  webhookUrl: string;
  graceSeconds: number;
  timeoutSeconds?: number;
}): Pipeline {
  const errors: unknown[] = [];
  const { timeoutSeconds = 5 } = options;
  const shared = {
    db: options.db,
    log: pino({ level: "silent" }),
    metrics: createMetrics({ version: "chaos", feeds: [] }),
    graceSeconds: options.graceSeconds,
    deliver: true,
    onError: (error: unknown) => void errors.push(error),
  };
  const sender = new WebhookSender(
    { url: options.webhookUrl, timeoutSeconds, secrets: [], authorization: null },
    { version: "chaos", connections: concurrency },
  );
  const deliverer = new Deliverer({ ...shared, sender, timeoutSeconds, maxAttempts: 3 });
  const judge = new Judge({ ...shared, precertMatch: "serial", deliverer });
  const recorder = new Recorder({
    ...shared,
    match: () => null,
    lostSessions: options.lostSessions,
    onRecorded: (certificates) => judge.firstLook(certificates),
  });
  const pruner = createPruner({ ...shared, intervalSeconds: 0.5, retentionSeconds: 3600 });
  const loops = [deliverer.settling, deliverer.claiming, judge.loop, recorder.loop, pruner];
  for (const loop of loops) loop.start();
  return {
    take(item, kinds = item.kinds) {
      for (const kind of kinds) {
        const parsed = parseMessage(Buffer.from(wireMessage(entryOf(item, kind))));
        if (parsed.type !== "certificate_update") throw new Error(`${item.name} makes no certificate update`);
        recorder.add(parsed.update, { entries: [watched], sans: [item.name], namesTruncated: 0 });
      }
    },
    wakeDelivery: () => deliverer.wake(),
    errors,
    async stop(attemptMs = 10_000) {
      await deliverer.stop(attemptMs);
      const lost = await recorder.drain(10_000);
      await Promise.all([judge.loop.stop(), pruner.stop()]);
      await sender.close();
      return lost;
    },
  };
}
