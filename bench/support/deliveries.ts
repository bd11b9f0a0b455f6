import { startReceiver, startSender, startService } from "./children.ts";
import type { CorpusOptions } from "./corpus.ts";
import { cpuMicroseconds, familyCpuMicroseconds } from "./cpu.ts";
import type { BenchDatabase } from "./database.ts";
import { within } from "./within.ts";

export interface DeliveriesOptions {
  /** Its watch list and inventory are the service's: see `fillInventory`. */
  database: BenchDatabase;
  corpus: CorpusOptions;
  /** How long the receiver takes to answer. */
  receiverDelayMs?: number;
}

/** Sender, service and receiver, connected to each other. They run until `stopAll`. */
export interface Deliveries {
  /** Sends so many messages, of which so many are alerts, and waits until each of these is delivered and marked. */
  turn(messages: number, alerts: number): Promise<DeliveryTurn>;
}

export interface DeliveryTurn {
  /** From the first message to the arrival of the last POST. */
  deliveredSeconds: number;
  /** To the commit that the last one was delivered (looked for every 5 ms). */
  markedSeconds: number;
  /** CPU time of all of it, microseconds; of PostgreSQL, that of its background processes included. */
  cpuUs: { certwatch: number; postgres: number; receiver: number };
}

const patienceMs = 300_000;
const pollMs = 5;

/** Starts all three; resolves when the service is connected. */
export async function startDeliveries(options: DeliveriesOptions): Promise<Deliveries> {
  const { database, corpus, receiverDelayMs = 0 } = options;
  const sender = await startSender(corpus);
  const receiver = await startReceiver({ delayMs: receiverDelayMs });
  const service = await startService({
    POSTGRES_DSN: database.dsn,
    CERTSTREAM_URL: sender.url,
    WEBHOOK_URL: receiver.url,
    WATCH_REFRESH_INTERVAL_S: "86400",
  });
  const to = await sender.nextClient();
  const cpuUs = () => ({
    certwatch: cpuMicroseconds(service.pid),
    postgres: familyCpuMicroseconds(database.pid),
    receiver: cpuMicroseconds(receiver.pid),
  });
  let expected = 0;
  return {
    async turn(messages, alerts) {
      expected += alerts;
      // Every turn finds the table as the first one did.
      await database.run("TRUNCATE public.alerts");
      const before = cpuUs();
      const startMs = performance.timeOrigin + performance.now();
      await sender.send({ to, count: messages });
      const arrivedMs =
        alerts === 0
          ? startMs
          : await within(patienceMs, receiver.reached(expected), `delivering ${alerts} alerts`);
      while (await isUnfinished(database)) await new Promise((resolve) => setTimeout(resolve, pollMs));
      const endMs = performance.timeOrigin + performance.now();
      const after = cpuUs();
      return {
        deliveredSeconds: (arrivedMs - startMs) / 1000,
        markedSeconds: (endMs - startMs) / 1000,
        cpuUs: {
          certwatch: after.certwatch - before.certwatch,
          postgres: after.postgres - before.postgres,
          receiver: after.receiver - before.receiver,
        },
      };
    },
  };
}

async function isUnfinished(database: BenchDatabase): Promise<boolean> {
  const { rows } = await database.run("SELECT FROM public.alerts WHERE NOT delivered LIMIT 1");
  return rows.length > 0;
}
