import { openPglite } from "./embedded.ts";
import { type DatabaseSource, NO_POSTGRES_OR_DSN, openPostgres } from "./postgres.ts";
import { describeIfAvailable } from "./skip.ts";

/** Runs a suite on PGlite, which is always there, and on real Postgres where there is one. */
export function describeOnEveryDatabase(
  name: string,
  body: (open: () => Promise<DatabaseSource>) => void,
): void {
  describeIfAvailable(`${name} on PGlite`, undefined, () => body(openPglite));
  describeIfAvailable(`${name} on PostgreSQL`, NO_POSTGRES_OR_DSN, () => body(openPostgres));
}
