import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { parseDsn } from "../../src/db/dsn.ts";
import { type Database, openPool } from "../../src/db/pool.ts";
import { createMetrics } from "../../src/metrics.ts";
import { WatchListRefresh } from "../../src/watchlist/refresh.ts";
import { byHand } from "../support/by-hand.ts";
import { describeOnEveryDatabase } from "../support/databases.ts";
import type { DatabaseSource } from "../support/postgres.ts";
import { patienceMs, waitUntil } from "../support/wait.ts";

describeOnEveryDatabase("WatchListRefresh", (open) => {
  let databases: DatabaseSource;
  let db: Database;
  let lines: { level: number; msg: string; entries_before?: number }[];
  let metrics: ReturnType<typeof createMetrics>;
  let errors: unknown[];
  let refresh: WatchListRefresh;
  beforeAll(async () => {
    databases = await open();
    db = openPool(parseDsn(await databases.createDatabase()));
  });
  afterAll(async () => {
    await db?.end();
    await databases?.close();
  });
  beforeEach(async () => {
    lines = [];
    errors = [];
    metrics = createMetrics({ version: "0", feeds: [] });
    await setRows([]);
    refresh = new WatchListRefresh({
      db,
      metrics,
      intervalSeconds: 0.05,
      log: pino({}, { write: (line: string) => lines.push(JSON.parse(line)) }),
      onError: (error) => errors.push(error),
    });
  });

  const sql = async (text: string, values: unknown[] = []) =>
    await db.execute({ name: byHand, text, values }, patienceMs);
  async function setRows(names: (string | null)[]): Promise<void> {
    await sql("DELETE FROM public.intent_current");
    await sql("INSERT INTO public.intent_current SELECT unnest($1::text[])", [names]);
  }
  const entries = async () => (await metrics.watchEntries.get()).values[0]!.value;

  test("reads the table; unusable rows are skipped with one warning that names them", async () => {
    await setRows([
      "Example.ORG.",
      "*.b.test",
      "localhost",
      "192.0.2.1",
      null,
      "",
      "example.org",
      "a..b",
      "bücher.example",
    ]);
    const before = Date.now() / 1000;
    await refresh.refresh();
    expect(refresh.current.size).toBe(3);
    expect(refresh.current.match("www.xn--bcher-kva.example")).toEqual(["xn--bcher-kva.example"]);
    expect(await entries()).toBe(3);
    expect((await metrics.watchRefreshed.get()).values[0]!.value).toBeGreaterThanOrEqual(before);
    expect(lines).toMatchObject([
      { level: 40, skipped: 4, examples: [{ raw: "localhost", problem: "has only one label" }, {}, {}, {}] },
    ]);
  });

  test("the warning about unusable rows is bounded", async () => {
    await setRows(Array.from({ length: 1_000 }, (_, i) => `${"x".repeat(5_000)}${i}`));
    await refresh.refresh();
    expect(lines[0]).toMatchObject({ skipped: 1_000 });
    expect(JSON.stringify(lines[0]).length).toBeLessThan(5_000);
  });

  test("an empty list at first, and a long one that turns empty, are warnings; other changes are told", async () => {
    await refresh.refresh();
    const ten = Array.from({ length: 10 }, (_, i) => `n${i}.example`);
    for (const rows of [ten, [], [], ten.slice(1), [], ["a.example"], ["b.example"]]) {
      await setRows(rows);
      await refresh.refresh();
    }
    expect(lines.map(({ level, msg, entries_before }) => [level, msg.slice(0, 32), entries_before])).toEqual([
      [40, "the watch list is empty: nothing", undefined],
      [30, "the watch list has changed", 0],
      [40, "the watch list has become empty:", 10],
      [30, "the watch list has changed", 0],
      [30, "the watch list has changed", 9],
      [30, "the watch list has changed", 0],
    ]);
    expect(refresh.current.match("b.example")).toEqual(["b.example"]);
  });

  test("the loop follows the table; while that fails the old list stays, and failures are counted", async () => {
    await setRows(["a.example"]);
    await refresh.refresh();
    refresh.loop.start();
    await setRows(["a.example", "b.example"]);
    await waitUntil(
      "the new list",
      () => refresh.current.size,
      (size) => size === 2,
    );
    await sql("ALTER TABLE public.intent_current RENAME TO away");
    await waitUntil(
      "a failure",
      () => errors.length,
      (count) => count > 0,
    );
    expect(refresh.current.match("a.example")).toEqual(["a.example"]);
    expect((await metrics.watchRefreshFailures.get()).values[0]!.value).toBeGreaterThan(0);
    await sql("ALTER TABLE public.away RENAME TO intent_current");
    await setRows(["c.example"]);
    await waitUntil(
      "the new list",
      () => refresh.current.size,
      (size) => size === 1,
    );
    await refresh.loop.stop();
  });

  test("before the first refresh there is no list, rather than an empty one", () => {
    expect(() => refresh.current).toThrow("not read yet");
  });
});
