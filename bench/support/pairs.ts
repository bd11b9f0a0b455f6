import { startBareConsumer, startSender, startService, stopAll } from "./children.ts";
import type { CorpusOptions } from "./corpus.ts";
import { cpuMicroseconds } from "./cpu.ts";
import type { BenchDatabase } from "./database.ts";
import { progress } from "./report.ts";
import { median, spread } from "./statistics.ts";

export interface PairsOptions {
  /** Its watch list is the service's. */
  database: BenchDatabase;
  corpus: CorpusOptions;
  pairs: number;
  messagesPerTurn: number;
  /** What is measured, for the progress. */
  label: string;
}

/** What the turns cost; CPU times in microseconds for each message. */
export interface Pairs {
  /** Messages per CPU second of certwatch, of those of the bare consumer, pair by pair. */
  ratios: number[];
  bareUs: number[];
  certwatchUs: number[];
  senderUs: number[];
  /** CPU time of the consumer whose turn it was, of the wall time. */
  busy: number[];
  /** Mean length. */
  messageBytes: number;
}

type Consumer = { pid: number; client: number };

const warmingPairs = 3;

/**
 * Messages per CPU second of the whole service, against a consumer that does nothing: both are connected to one sender
 * and take turns, so that what the machine does besides hits both. Everything that it starts is stopped at its end.
 */
export async function measurePairs(options: PairsOptions): Promise<Pairs> {
  const { database, corpus, pairs, messagesPerTurn, label } = options;
  const sender = await startSender(corpus);
  const bare = { pid: await startBareConsumer(sender.url), client: await sender.nextClient() };
  const service = await startService({
    POSTGRES_DSN: database.dsn,
    CERTSTREAM_URL: sender.url,
    WATCH_REFRESH_INTERVAL_S: "86400",
  });
  const certwatch = { pid: service.pid, client: await sender.nextClient() };

  const turn = async ({ pid, client }: Consumer) => {
    const startCpu = cpuMicroseconds(pid);
    const startSender = cpuMicroseconds(sender.pid);
    const startMs = performance.now();
    await sender.send({ to: client, count: messagesPerTurn });
    const cpu = cpuMicroseconds(pid) - startCpu;
    const senderUs = (cpuMicroseconds(sender.pid) - startSender) / messagesPerTurn;
    return { us: cpu / messagesPerTurn, senderUs, busy: cpu / 1000 / (performance.now() - startMs) };
  };
  for (let warming = 0; warming < warmingPairs; warming++) {
    await turn(bare); // both are compiled before it counts
    await turn(certwatch);
  }

  const { messageBytes } = sender;
  const measured: Pairs = { ratios: [], bareUs: [], certwatchUs: [], senderUs: [], busy: [], messageBytes };
  for (let pair = 0; pair < pairs; pair++) {
    const isBareFirst = pair % 2 === 0;
    const first = await turn(isBareFirst ? bare : certwatch);
    const second = await turn(isBareFirst ? certwatch : bare);
    const [bareTurn, certwatchTurn] = isBareFirst ? [first, second] : [second, first];
    measured.bareUs.push(bareTurn.us);
    measured.certwatchUs.push(certwatchTurn.us);
    measured.ratios.push(bareTurn.us / certwatchTurn.us);
    for (const { senderUs, busy } of [first, second]) {
      measured.senderUs.push(senderUs);
      measured.busy.push(busy);
    }
    progress(
      `${label}: ${bareTurn.us.toFixed(2)} ${certwatchTurn.us.toFixed(2)} us, ${measured.ratios.at(-1)!.toFixed(3)}`,
    );
  }
  await stopAll();
  return measured;
}

/** All that one has to know to read the ratio. */
export function detailOf({ ratios, bareUs, certwatchUs, senderUs, busy }: Pairs): string {
  return `${spread(ratios, 3)}; CPU per message: bare ${spread(bareUs)} us, certwatch ${spread(certwatchUs)}, sender ${spread(senderUs)} us; consumer busy ${(100 * median(busy)).toFixed()} %`;
}
