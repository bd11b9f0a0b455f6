import { median } from "./statistics.ts";

/**
 * How many times as long a call of `one` takes as a call of `other`: the median of rounds in which one runs after the
 * other, the order changing. Each gets the number of the call; both are compiled before it counts.
 *
 * @param options.calls of each, in each round
 */
export function interleaved(
  one: (i: number) => unknown,
  other: (i: number) => unknown,
  { rounds, calls }: { rounds: number; calls: number },
): number {
  const ratios: number[] = [];
  const warmingRounds = 3;
  for (let round = -warmingRounds; round < rounds; round++) {
    const isOneFirst = round % 2 === 0;
    const first = durationMs(isOneFirst ? one : other, calls);
    const second = durationMs(isOneFirst ? other : one, calls);
    if (round >= 0) ratios.push(isOneFirst ? first / second : second / first);
  }
  return median(ratios);
}

function durationMs(body: (i: number) => unknown, calls: number): number {
  let sink: unknown;
  const startMs = performance.now();
  for (let i = 0; i < calls; i++) sink = body(i);
  const endMs = performance.now();
  if (sink === undefined) throw new Error("nothing was measured");
  return endMs - startMs;
}

/** More messages than the processor's caches hold, and each copied just before, as the kernel does. */
export function cold(texts: string[]): (i: number) => Buffer {
  const messages = texts.map((text) => Buffer.from(text));
  const memory = Buffer.allocUnsafeSlow(128 * 1024);
  return (i) => {
    const message = messages[i % messages.length]!;
    memory.set(message);
    return memory.subarray(0, message.length);
  };
}
