import { readFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { type Cluster, NO_POSTGRES, startCluster } from "../../test/support/postgres.ts";
import { runCommand, stopAll } from "./children.ts";
import { numberedFingerprint, topLevelDomains, watchedDomains } from "./corpus.ts";

export interface BenchDatabase {
  dsn: string;
  /** Of the postmaster. */
  pid: number;
  /** Where its data is. */
  folder: string;
  /** Runs SQL, for preparation. */
  run(sql: string, values?: unknown[]): Promise<pg.QueryResult>;
  close(): Promise<void>;
}

/**
 * A new cluster of PostgreSQL with its settings as they are by default (fsync on), and the tables of certwatch.
 *
 * @throws where PostgreSQL's programs are missing.
 */
async function openDatabase({ fsync = true } = {}): Promise<BenchDatabase> {
  if (NO_POSTGRES !== undefined) throw new Error(`the benchmarks need PostgreSQL: there is ${NO_POSTGRES}`);
  const cluster: Cluster = await startCluster({ conf: [`fsync = ${fsync ? "on" : "off"}`] });
  const dsn = await cluster.createDatabase({ schema: false });
  await runCommand(["migrate"], { POSTGRES_DSN: dsn });
  const client = new pg.Client({ connectionString: dsn });
  await client.connect();
  return {
    dsn,
    pid: Number(readFileSync(join(cluster.dir, "data", "postmaster.pid"), "utf8").split("\n")[0]),
    folder: cluster.dir,
    run: (sql, values) => client.query(sql, values),
    async close() {
      await client.end();
      await cluster.close();
    },
  };
}

/** `PostgreSQL 15.14`. */
export async function serverVersion(database: BenchDatabase): Promise<string> {
  const { rows } = await database.run("SHOW server_version");
  return `PostgreSQL ${rows[0].server_version.split(" ")[0]}`;
}

/** Opens a database for `work`; after it, whatever became of it, all children are stopped and the database is gone. */
export async function withDatabase<T>(
  work: (database: BenchDatabase) => Promise<T>,
  options?: { fsync?: boolean },
): Promise<T> {
  const database = await openDatabase(options);
  try {
    return await work(database);
  } finally {
    await stopAll();
    await database.close();
  }
}

/** The i-th of the registrable domains that are watched: distinct, with the top-level domains of the traffic. */
const watchedDomain = `substr(md5(i::text), 1, 10) || to_hex(i) || '.' || ($1::text[])[1 + i % cardinality($1::text[])]`;

/** Makes the watch list: so many entries, that no message is about. */
export async function fillWatchList(database: BenchDatabase, count: number): Promise<void> {
  await database.run("TRUNCATE public.intent_current");
  await database.run(
    `INSERT INTO public.intent_current SELECT ${watchedDomain} FROM generate_series(1, ${count}) AS i`,
    [topLevelDomains],
  );
}

/**
 * Watches what matching messages are about, and knows the certificates of the first `count` messages, or of one in
 * `every` of them, as the corpus has `matchEvery`.
 */
export async function fillInventory(
  database: BenchDatabase,
  count: number,
  { every = 1 } = {},
): Promise<void> {
  await database.run("TRUNCATE public.intent_current, public.certs, public.alerts");
  await database.run("INSERT INTO public.intent_current SELECT unnest($1::text[])", [watchedDomains]);
  const fingerprints = Array.from({ length: Math.ceil(count / every) }, (_, i) =>
    numberedFingerprint(i * every),
  );
  await database.run(
    `INSERT INTO public.certs (fingerprint_sha1, serial, sans, not_before, not_after, added_at)
     SELECT hex, hex, '[]', 0, 0, 0 FROM unnest($1::text[]) AS hex`,
    [fingerprints],
  );
  await database.run("VACUUM ANALYZE public.certs");
}

/** What one committed INSERT of a row takes, ms: mostly the disk's fsync. */
export async function insertLatencies(database: BenchDatabase, count = 200): Promise<number[]> {
  await database.run("CREATE TABLE IF NOT EXISTS probe (id BIGSERIAL PRIMARY KEY, text TEXT)");
  const latencies: number[] = [];
  for (let i = 0; i < count; i++) {
    const startMs = performance.now();
    await database.run("INSERT INTO probe (text) VALUES ($1)", ["x".repeat(1_000)]);
    latencies.push(performance.now() - startMs);
  }
  return latencies;
}
