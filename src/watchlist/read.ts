import type { Database } from "../db/pool.ts";

/** Few enough that reading a page does not hold the event loop up for more than half a millisecond. */
const pageRows = 500;

/** What no text in Postgres can contain. */
const separator = "\0";

/**
 * The rows of the watch list, in pages of packed text: a million of them at once would be a million objects for the
 * garbage collector.
 */
export class WatchListRows implements Iterable<string> {
  readonly #pages: Buffer[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  add(page: readonly string[]): void {
    if (page.length > 0) this.#pages.push(Buffer.from(page.join(separator)));
    this.#length += page.length;
  }

  *[Symbol.iterator](): Generator<string, void> {
    for (const page of this.#pages) yield* page.toString().split(separator);
  }
}

/**
 * Every row of the watch list, as it stands there at one moment; rows without a value are left out. Read in pages, for
 * whatever else this process does meanwhile: a million rows are a second of work.
 */
export async function readWatchListRows(db: Database, deadlineMs: number): Promise<WatchListRows> {
  const name = "read the watch list";
  return await db.transaction(deadlineMs, async (tx) => {
    await tx.execute(
      {
        name,
        text: `DECLARE watch_list NO SCROLL CURSOR FOR
               SELECT fqdn FROM public.intent_current WHERE fqdn IS NOT NULL`,
      },
      deadlineMs,
    );
    const rows = new WatchListRows();
    for (;;) {
      const text = `FETCH ${pageRows} FROM watch_list`;
      const page = await tx.query<{ fqdn: string }>({ name, text }, deadlineMs);
      rows.add(page.map(({ fqdn }) => fqdn));
      if (page.length < pageRows) return rows;
    }
  });
}

/** The same as an array, for commands. */
export async function readWatchList(db: Database, deadlineMs: number): Promise<string[]> {
  return [...(await readWatchListRows(db, deadlineMs))];
}
