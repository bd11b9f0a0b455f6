import { execFileSync } from "node:child_process";
import { appendFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { type Cluster, startCluster } from "../../support/postgres.ts";

/** A primary on TCP, and a standby that has everything before it counts as committed. */
export interface ReplicatedPair {
  primary: Cluster;
  standby: Cluster;
  /** Names both hosts, the primary first. */
  dsn(database: string): string;
  /** Makes the standby the primary; the old one has to be gone. */
  promote(): Promise<void>;
  close(): Promise<void>;
}

/** `remote_apply` would be more; `on` is what people have: flushed by the standby before COMMIT returns. */
export async function startReplicatedPair(): Promise<ReplicatedPair> {
  const primary = await startCluster({ tcp: true, conf: ["wal_level = replica", "synchronous_commit = on"] });
  const standby = await startCluster({ tcp: true });
  await standby.stop();
  const { uid, gid } = statSync(standby.dir);
  const data = join(standby.dir, "data");
  rmSync(data, { recursive: true });
  execFileSync(
    "pg_basebackup",
    ["-d", primary.dsn(), "-D", data, "-R", "-X", "stream", "-c", "fast", "--no-sync"],
    { uid, gid, cwd: standby.dir, stdio: "pipe" },
  );
  appendFileSync(
    join(data, "postgresql.conf"),
    `\nport = ${standby.port}\nunix_socket_directories = '${standby.dir}'\n`,
  );
  // Resolves when it accepts writes: at its promotion.
  const promoted = standby.start();
  promoted.catch(() => {});
  await run(primary.dsn(), "ALTER SYSTEM SET synchronous_standby_names = '*'");
  await run(primary.dsn(), "SELECT pg_reload_conf()");
  for (;;) {
    const [row] = await run(primary.dsn(), "SELECT FROM pg_stat_replication WHERE sync_state = 'sync'");
    if (row !== undefined) break;
  }
  return {
    primary,
    standby,
    dsn: (database) =>
      `postgres://postgres@127.0.0.1:${primary.port},127.0.0.1:${standby.port}/${database}?target_session_attrs=read-write`,
    async promote() {
      await run(standby.dsn(), "ALTER SYSTEM SET synchronous_standby_names = ''");
      await run(standby.dsn(), "SELECT pg_reload_conf(), pg_promote()");
      await promoted;
    },
    async close() {
      await standby.close();
      await primary.close();
    },
  };
}

async function run(dsn: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: dsn });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}
