import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, it } from "vitest";
import { canSkip } from "../../src/feed/prefilter.ts";
import { buildWatchList } from "../../src/watchlist/matcher.ts";
import { goMessage } from "../support/server-messages.ts";

const entryCount = 1_000_000;

it("watches a million entries, and lets the event loop turn while it reads them", async ({ annotate }) => {
  const entries = Array.from({ length: entryCount }, (_, i) => `host${i}.zone${i % 1_000}.example`);
  const building = buildWatchList(entries);
  const gaps: number[] = [];
  let isBuilding = true;
  building.finally(() => {
    isBuilding = false;
  });
  const startedAt = performance.now();
  for (let last = startedAt; isBuilding; last += gaps.at(-1)!) {
    await nextTurn();
    gaps.push(performance.now() - last);
  }
  const buildMs = performance.now() - startedAt;
  const { watchList } = await building;

  expect(gaps.length).toBeGreaterThan(10);
  expect(watchList.size).toBe(entryCount);
  expect(watchList.match("*.host7.zone7.example")).toEqual(["host7.zone7.example"]);
  expect(watchList.match("*.zone7.example")).toHaveLength(1_000);
  for (let i = 0; i < entryCount; i += 97) expect(watchList.match(`www.${entries[i]}`)).toEqual([entries[i]]);

  const text = "x".repeat(700);
  const messages = Array.from({ length: 1_000 }, (_, i) =>
    Buffer.from(
      goMessage({ names: [`www.shop${i}.com`, `*.shop${i}.net`], text, chainNames: [["R11"]] }, "full"),
    ),
  );
  const skipped = messages.filter((message) => canSkip(message, watchList.table)).length;
  expect(skipped).toBeGreaterThan(950); // the rest are hashes that happen to be the same

  const rssMb = process.memoryUsage.rss() / 1e6;
  await annotate(
    `built in ${buildMs.toFixed()} ms, longest hold ${Math.max(...gaps).toFixed(1)} ms, RSS ${rssMb.toFixed()} MB`,
  );
}, 180_000);
