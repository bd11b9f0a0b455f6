import { expect, test } from "vitest";
import { buildWatchList } from "../../src/watchlist/matcher.ts";
import { corpus } from "./corpus.ts";
import { compare, expectedOf, openPipeline, remembered } from "./differential.ts";
import { patienceMs, runs, seed } from "./random.ts";

test("the corpus: what was difficult once is found", async () => {
  const pipeline = openPipeline();
  for (const { why, entries, message } of corpus) {
    pipeline.watch((await buildWatchList(entries)).watchList);
    const bytes = Buffer.from(message);
    const expected = expectedOf(bytes, remembered(entries)).entries;
    expect(pipeline.matchedBy(bytes) ?? [], why).toEqual(expected);
    expect(expected, why).not.toEqual([]);
  }
});

const count = runs(20_000);
test(
  `prefilter, parser and index against the definition, ${count} messages, FUZZ_SEED=${seed}`,
  async () => {
    console.log(`FUZZ_SEED=${seed} FUZZ_RUNS=${count}`);
    const startedMs = performance.now();
    const seen = await compare({ seed, count });
    const perSecond = Math.round(count / ((performance.now() - startedMs) / 1000));
    console.log(`${count} messages, ${perSecond}/s: ${JSON.stringify(seen)}`);
    for (const times of Object.values(seen)) expect(times).toBeGreaterThan(count / 200);
  },
  patienceMs(count, 2_000),
);
