import type { Database } from "../db/pool.ts";

/**
 * The number of rows in a page, which are read at a time. Reading a page blocks the event loop for at most 0.5 ms.
 */
const pageRows = 500;

/** A character that no text in Postgres can contain. */
const separator = "\0";

/**
 * The rows of the watch list, kept as pages of packed text. As separate strings, a million rows would be a million
 * objects for the garbage collector.
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
 * Reads all rows that the watch list has at one moment. Rows without a value are left out. A million rows take a second
 * of work: they are read in pages, so that this process can do other work in between.
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

/** Like {@link readWatchListRows}, but returns an array, for the commands. */
export async function readWatchList(db: Database, deadlineMs: number): Promise<string[]> {
  return [...(await readWatchListRows(db, deadlineMs))];
}
