import { describeTable, type TableDescription } from "../db/describe-table.ts";
import type { Queryable } from "../db/statement.ts";
import { serialNormalForm } from "./find.ts";

/** An index that looking up precertificates needs, as in schema.sql. */
export interface InventoryIndex {
  name: string;
  column: string;
  /** The text between the parentheses of CREATE INDEX. */
  key: string;
  lookup: string;
}

export const inventoryIndexes: readonly InventoryIndex[] = [
  { name: "certs_tbs_sha256", column: "tbs_sha256", key: "tbs_sha256", lookup: "TBS hash" },
  {
    name: "certs_serial",
    column: "serial",
    key: serialNormalForm,
    lookup: "serial number",
  },
];

/** The statement that builds an index while others go on writing to the table. */
export function createIndexSql({ key }: InventoryIndex, name: string): string {
  return `CREATE INDEX CONCURRENTLY ${name} ON public.certs (${key})`;
}

/** An index of `public.certs` that can serve as one of {@link inventoryIndexes}. */
interface FoundIndex {
  name: string;
  /** False when it is still being built, or was left over by an interrupted build. */
  isValid: boolean;
}

export interface InventoryState {
  table: TableDescription;
  found(index: InventoryIndex): FoundIndex[];
}

/** Looks at the table `public.certs` and its indexes. Returns `null` when there is no such table. */
export async function readInventoryState(db: Queryable, deadlineMs: number): Promise<InventoryState | null> {
  const table = await describeTable(db, "public.certs", deadlineMs);
  if (table === null) return null;
  const indexes = await db.query<FoundIndex & { key: string }>(
    {
      name: "list the inventory's indexes",
      text: `SELECT relname::text AS name, indisvalid AS "isValid", pg_catalog.pg_get_indexdef(indexrelid, 1, true) AS key
             FROM pg_catalog.pg_index JOIN pg_catalog.pg_class ON pg_class.oid = indexrelid
             WHERE indrelid = pg_catalog.to_regclass('public.certs')::oid AND indpred IS NULL
             ORDER BY indisvalid DESC, relname`,
    },
    deadlineMs,
  );
  return {
    table,
    found: ({ key }) => indexes.filter((index) => bare(index.key) === bare(key)),
  };
}

/**
 * Removes what Postgres adds to the expression of an index, so that two texts can be compared. It adds casts and
 * parentheses, which depend on the type of the column.
 */
function bare(key: string): string {
  return key.replaceAll(/::(text|character varying)\b|\bpg_catalog\.|[\s()]/g, "");
}

const columnsForSerial = ["serial", "sans", "not_before", "not_after"];

/**
 * Finds the columns and indexes that `public.certs` lacks. For each one, a sentence says what the service cannot do, or
 * does only slowly, and what mends it. When `public.certs` is a view, the indexes of the tables behind it are not
 * looked at.
 */
export async function checkInventoryTable(db: Queryable, deadlineMs: number): Promise<string[]> {
  const state = await readInventoryState(db, deadlineMs);
  if (state === null) return [];
  const { table } = state;
  const has = (column: string) => table.columns.includes(column);
  const problems = columnsForSerial
    .filter((column) => !has(column))
    .map(
      (column) =>
        `public.certs has no column ${column}, so precertificates cannot be looked up by serial number: its owner has to add it.`,
    );
  if (!has("tbs_sha256")) {
    problems.push(
      `public.certs has no column tbs_sha256, so precertificates can be recognised by serial number only: ${mend(table)}.`,
    );
  }
  if (table.kind === "other") return problems;
  for (const index of inventoryIndexes) {
    if (!has(index.column) || state.found(index).some(({ isValid }) => isValid)) continue;
    problems.push(
      `public.certs has no index for lookups by ${index.lookup}, so each one reads the whole table: ${mend(table)}.`,
    );
  }
  return problems;
}

function mend({ kind, kindName }: TableDescription): string {
  return kind === "table"
    ? 'run "certwatch migrate --inventory"'
    : `it is a ${kindName}, "certwatch migrate --inventory" says what its owner has to do`;
}
