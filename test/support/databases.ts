import { parseDsn } from "../../src/db/dsn.ts";
import { openPool } from "../../src/db/pool.ts";
import { openPglite } from "./embedded.ts";
import { type DatabaseSource, NO_POSTGRES_OR_DSN, openPostgres } from "./postgres.ts";
import { describeIfAvailable } from "./skip.ts";

/** A database, and connections to it. `close` also closes the server that `open` opened. */
export async function openDatabase(open: () => Promise<DatabaseSource>, options: { schema?: boolean } = {}) {
  const source = await open();
  const dsn = await source.createDatabase(options);
  const db = openPool(parseDsn(dsn));
  const close = async () => {
    await db.end();
    await source.close();
  };
  return { source, dsn, db, close };
}

/** Runs a suite on PGlite, which is always there, and on real Postgres where there is one. */
export function describeOnEveryDatabase(
  name: string,
  body: (open: () => Promise<DatabaseSource>) => void,
): void {
  describeIfAvailable(`${name} on PGlite`, undefined, () => body(openPglite));
  describeIfAvailable(`${name} on PostgreSQL`, NO_POSTGRES_OR_DSN, () => body(openPostgres));
}
