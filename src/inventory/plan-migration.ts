import type { Queryable } from "../db/statement.ts";
import {
  createIndexSql,
  type InventoryIndex,
  type InventoryState,
  inventoryIndexes,
  readInventoryState,
} from "./table-check.ts";

/** One statement that has to run outside a transaction. The table can be used after it, whatever happens next. */
export interface MigrationStep {
  /** Continues "public.certs: ", as in `adding the column ...`. */
  description: string;
  text: string;
}

/** Either why the table cannot be changed, and what to do instead; or the steps to take, of which there may be none. */
export type InventoryPlan = { problem: string } | { steps: MigrationStep[] };

/** Waits only briefly for the lock on the table, because everybody who comes later has to wait behind us. */
const addColumn =
  "SET LOCAL lock_timeout = '5s'; ALTER TABLE public.certs ADD COLUMN IF NOT EXISTS tbs_sha256 TEXT";

/**
 * Finds out what `public.certs` lacks for looking up precertificates. The plan deletes an index only when it is invalid
 * and has one of certwatch's own names: then an interrupted build has left it over.
 */
export async function planInventoryMigration(db: Queryable, deadlineMs: number): Promise<InventoryPlan> {
  const state = await readInventoryState(db, deadlineMs);
  if (state === null)
    return { problem: 'there is no public.certs: create the tables with "certwatch migrate"' };
  if (state.table.kind !== "table") return { problem: adviceForOwner(state) };
  const builder = await indexBuilder(db, deadlineMs);
  if (builder !== null) {
    return { problem: `process ${builder} is building an index on public.certs: try again when it is done` };
  }
  const steps: MigrationStep[] = [];
  if (!state.table.columns.includes("tbs_sha256")) {
    steps.push({ description: "adding the column tbs_sha256", text: addColumn });
  }
  for (const index of inventoryIndexes) steps.push(...(await indexSteps(db, state, index, deadlineMs)));
  return { steps };
}

async function indexSteps(
  db: Queryable,
  state: InventoryState,
  index: InventoryIndex,
  deadlineMs: number,
): Promise<MigrationStep[]> {
  const found = state.found(index);
  if (found.some(({ isValid }) => isValid)) return [];
  // Upstream may use the first name for an index of its own.
  const names = [index.name, `certwatch_${index.name}`];
  const invalid = found.map(({ name }) => name).filter((name) => names.includes(name));
  const taken = await relationNames(db, names, deadlineMs);
  const name = names.find((one) => !taken.has(one) || invalid.includes(one)) ?? index.name;
  return [
    ...invalid.map((leftOver) => ({
      description: `dropping the index ${leftOver}, left unfinished by an interrupted build`,
      text: `DROP INDEX CONCURRENTLY public.${leftOver}`,
    })),
    {
      description: `building the index ${name} (writes go on meanwhile; a large table takes minutes)`,
      text: createIndexSql(index, name),
    },
  ];
}

async function relationNames(db: Queryable, names: string[], deadlineMs: number): Promise<Set<string>> {
  const rows = await db.query<{ name: string }>(
    {
      name: "migrate the inventory",
      text: `SELECT relname::text AS name FROM pg_catalog.pg_class
             WHERE relnamespace = 'public'::regnamespace::oid AND relname = ANY ($1::text[])`,
      values: [names],
    },
    deadlineMs,
  );
  return new Set(rows.map((row) => row.name));
}

/**
 * The id of the process that is building an index on the table now. While it does, an invalid index is not left over.
 */
async function indexBuilder(db: Queryable, deadlineMs: number): Promise<number | null> {
  const [row] = await db.query<{ pid: number }>(
    {
      name: "migrate the inventory",
      text: `SELECT pid FROM pg_catalog.pg_stat_progress_create_index WHERE relid = pg_catalog.to_regclass('public.certs')::oid`,
    },
    deadlineMs,
  );
  return row?.pid ?? null;
}

function adviceForOwner({ table }: InventoryState): string {
  const column =
    "tbs_sha256 (text: SHA-256 of the TBSCertificate without poison and SCT list, lower-case hex)";
  if (table.kind === "partitioned table") {
    const indexes = inventoryIndexes.map(
      (index) => `  ${createIndexSql(index, index.name).replace(" CONCURRENTLY", "")};`,
    );
    return [
      "public.certs is a partitioned table, on which no index can be built CONCURRENTLY. Have its owner run, at a quiet moment:",
      "  ALTER TABLE public.certs ADD COLUMN IF NOT EXISTS tbs_sha256 TEXT;",
      ...indexes,
    ].join("\n");
  }
  return [
    `public.certs is a ${table.kindName}, which certwatch does not change. Its owner has to`,
    `  - add a column to it: ${column}`,
    "  - build indexes on the tables behind it, on the expressions that its columns tbs_sha256 and serial are made of; in terms of the view:",
    ...inventoryIndexes.map(({ key }) => `      ${key}`),
  ].join("\n");
}
