import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Embedded, openEmbedded } from "../../src/db/embedded/open.ts";
import { applySchema, type DatabaseSource } from "./postgres.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** A folder with an embedded database that was never used; remove it after use. */
export async function embeddedDir(): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), "certwatch-pglite-"));
  cpSync(await emptyDatabase(), join(dir, "pgdata"), { recursive: true });
  return dir;
}

/** PGlite takes ten seconds to make a database: it is made once for each version of PGlite, then copied. */
async function emptyDatabase(): Promise<string> {
  const manifest = join(ROOT, "node_modules/@electric-sql/pglite/package.json");
  const { version } = JSON.parse(readFileSync(manifest, "utf8")) as { version: string };
  const cache = join(ROOT, "node_modules/.cache/certwatch");
  const made = join(cache, `pgdata-${version}`);
  if (existsSync(made)) return made;
  mkdirSync(cache, { recursive: true });
  const dir = mkdtempSync(join(cache, "new-"));
  await (await openEmbedded({ dataDir: dir })).close();
  try {
    renameSync(join(dir, "pgdata"), made);
  } catch (error) {
    if (!existsSync(made)) throw error; // another worker was faster
  }
  await rm(dir, { recursive: true });
  return made;
}

/** As `openPostgres`, on PGlite: one server for each database, because a PGlite has only one. */
export async function openPglite(): Promise<DatabaseSource> {
  const opened: { dir: string; embedded: Embedded }[] = [];
  return {
    async createDatabase({ schema = true } = {}) {
      const dir = await embeddedDir();
      const embedded = await openEmbedded({ dataDir: dir });
      opened.push({ dir, embedded });
      if (schema) await applySchema(embedded.dsn);
      return embedded.dsn;
    },
    async close() {
      for (const { dir, embedded } of opened) {
        await embedded.close();
        await rm(dir, { recursive: true });
      }
    },
  };
}
