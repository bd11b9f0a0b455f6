/** A row of at most so many bytes is small: hundreds of these are read at once. */
export const smallRowBytes = 65_536;

/** How many bytes of large rows one statement reads at most, or one row. */
export const largeReadBytes = 8 * 1024 * 1024;

/** What an event that certwatch recorded takes at most: its payload was cut to a webhook body of 1 MiB. */
export const maxEventBytes = 1_048_576;

/** What any other event counts for at most. Version 0.1.0 did not cut its payload. */
export const maxForeignEventBytes = 16 * 1024 * 1024;

/**
 * SQL: about how many bytes a value takes in memory that was recorded without `row_bytes`, from its stored size, which
 * can be had without reading the value. Postgres compresses what is above 2 kB; names that repeat can shrink to a 57th.
 */
const uncompressed = (stored: string) => `(${stored} + 64 * GREATEST(${stored} - 2000, 0))`;

const storedSize = (row: string, columns: string[]) =>
  `(${columns.map((column) => `COALESCE(pg_catalog.pg_column_size(${row}.${column}), 0)::bigint`).join(" + ")})`;

/**
 * SQL: about how many bytes a row of `public.alerts` takes in memory once its names are read. Never NULL; costs
 * nothing.
 */
export const rowBytesOf = (row: string) =>
  `COALESCE(${row}.row_bytes, ${uncompressed(storedSize(row, ["sans", "payload", "issuer"]))})`;

/** SQL: the same of an event that is read to be delivered, which needs its payload alone. LEAST passes over NULL. */
export const eventBytesOf = (row: string) =>
  `CASE WHEN ${row}.row_bytes IS NOT NULL THEN LEAST(${row}.row_bytes, ${maxEventBytes})
        ELSE LEAST(${uncompressed(storedSize(row, ["payload"]))}, ${maxForeignEventBytes}) END`;

/** SQL: whether a row is small. Every other row is large. */
export const isSmall = (row: string) => `${rowBytesOf(row)} <= ${smallRowBytes}`;

/**
 * SQL: a table `counted` that adds up the bytes of rows in an order. With {@link fitsRead} as the condition, a statement
 * reads as many of these rows as have 8 MB together, or one.
 *
 * @param rows a table of the statement with `id` and `bytes`, and the columns of `order`.
 */
export const counted = (rows: string, order: string) => `counted AS (
  SELECT id, pg_catalog.row_number() OVER in_order AS place, (pg_catalog.sum(bytes) OVER in_order)::bigint AS total
  FROM ${rows} WINDOW in_order AS (ORDER BY ${order}))`;

/** SQL: whether the row `c` of {@link counted} is among those that one statement reads. */
export const fitsRead = `(c.place = 1 OR c.total <= ${largeReadBytes})`;
