import { statfsSync } from "node:fs";
import type { BenchDatabase } from "../support/database.ts";
import { progress } from "../support/report.ts";

/** A row of `public.certs`. */
export interface OwnCertificate {
  fingerprint: string;
  serial: string;
  sans: string[];
  notBefore: number;
  notAfter: number;
  /** `null` in one row of ten, as of a system that does not write it. */
  tbsSha256: string | null;
}

const withoutTbsEvery = 10;
/** With its indexes, as measured, and as much again for building them. */
const diskBytesPerRow = 1_500;

/** The i-th row, the same each time: fingerprint_sha1, serial, sans, not_before, not_after, tbs_sha256. */
const rowOf = `
  substr(encode(sha256(('fingerprint ' || i)::bytea), 'hex'), 1, 40) AS fingerprint,
  upper(md5('serial ' || i)) AS serial,
  jsonb_build_array('shop' || i || '.example.org', 'www.shop' || i || '.example.org') AS sans,
  1700000000 + i % 7776000 AS "notBefore",
  1707776000 + i % 7776000 AS "notAfter",
  CASE WHEN i % ${withoutTbsEvery} <> 0 THEN encode(sha256(('tbs ' || i)::bytea), 'hex') END AS "tbsSha256"`;

/** Whether there is room for so many rows more. */
export function fits(database: BenchDatabase, rows: number): boolean {
  const { bavail, bsize } = statfsSync(database.folder);
  const isEnough = bavail * bsize > rows * diskBytesPerRow;
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
  progress(
    `growth: ${gigabytes(bavail * bsize)} of disk are free, ${rows} rows more need ${gigabytes(rows * diskBytesPerRow)}${isEnough ? "" : ": left out"}`,
  );
  return isEnough;
}

/**
 * Lets the inventory grow from `from` to `to` rows. Indexes are built afterwards, which is much faster; the table is not
 * logged and nothing is synced until all is there, which makes no difference to reading.
 *
 * @returns bytes of the table and its indexes.
 */
export async function growInventory(database: BenchDatabase, from: number, to: number): Promise<number> {
  const startMs = performance.now();
  await database.run("ALTER SYSTEM SET fsync = off");
  await database.run("SELECT pg_reload_conf()");
  if (from === 0) await database.run("ALTER TABLE public.certs SET UNLOGGED");
  await database.run("SET maintenance_work_mem = '1GB'");
  // As schema.sql has them, whatever that says.
  const { rows: indexes } = await database.run(
    `SELECT indexname AS name, indexdef AS definition FROM pg_indexes
     WHERE schemaname = 'public' AND tablename = 'certs'`,
  );
  await database.run("ALTER TABLE public.certs DROP CONSTRAINT certs_pkey");
  for (const { name } of indexes) await database.run(`DROP INDEX IF EXISTS public.${name}`);
  await database.run(
    `INSERT INTO public.certs (fingerprint_sha1, serial, sans, not_before, not_after, tbs_sha256, source, added_at)
     SELECT ${rowOf}, 'bench', 1700000000 FROM generate_series(${from + 1}, ${to}) AS i`,
  );
  for (const { definition } of indexes) await database.run(definition);
  await database.run("ALTER TABLE public.certs ADD CONSTRAINT certs_pkey PRIMARY KEY USING INDEX certs_pkey");
  await database.run("VACUUM ANALYZE public.certs");
  await database.run("ALTER SYSTEM SET fsync = on");
  await database.run("SELECT pg_reload_conf()");
  await database.run("CHECKPOINT");
  const { rows } = await database.run(
    "SELECT pg_total_relation_size('public.certs')::bigint::float8 AS bytes",
  );
  const seconds = ((performance.now() - startMs) / 1000).toFixed();
  progress(`growth: an inventory of ${to} rows, ${(rows[0].bytes / 1e6).toFixed()} MB, after ${seconds} s`);
  return rows[0].bytes;
}

/** So many different rows of the first `size` ones, from all over it, either all with a TBS hash or all without. */
export async function sample(
  database: BenchDatabase,
  options: { size: number; count: number; withTbs: boolean },
): Promise<OwnCertificate[]> {
  const { size, count, withTbs } = options;
  const groups = size / withoutTbsEvery;
  const numbers = Array.from({ length: count }, (_, n) => {
    const group = Math.floor(((n + Math.random()) * groups) / count);
    const place = withTbs ? Math.ceil(Math.random() * (withoutTbsEvery - 1)) : withoutTbsEvery;
    return group * withoutTbsEvery + place;
  });
  const { rows } = await database.run(
    `SELECT fingerprint, serial, sans, "notBefore"::float8, "notAfter"::float8, "tbsSha256"
     FROM (SELECT ${rowOf} FROM unnest($1::bigint[]) AS i) AS row`,
    [numbers],
  );
  return rows;
}
