import type { Queryable } from "./statement.ts";

export interface TableDescription {
  /** `other` stands for a view, a materialized view or a foreign table; `kindName` says which. */
  kind: "table" | "partitioned table" | "other";
  /** The kind in words: `table`, `view`, ... */
  kindName: string;
  columns: string[];
  /** The privileges of this role, out of SELECT, INSERT, UPDATE and DELETE. */
  privileges: string[];
}

const kindNames: Record<string, string> = {
  r: "table",
  p: "partitioned table",
  v: "view",
  m: "materialized view",
  f: "foreign table",
};

/**
 * Asks the database for a table's kind, its columns, and the privileges of this role.
 *
 * @param table the name with its schema, e.g. `public.certs`.
 * @returns `null` if there is no such table.
 */
export async function describeTable(
  db: Queryable,
  table: string,
  deadlineMs: number,
): Promise<TableDescription | null> {
  const [row] = await db.query<{ kind: string; columns: string[]; privileges: string[] }>(
    {
      name: "describe a table",
      text: `SELECT relkind::text AS kind,
                    ARRAY(SELECT attname::text FROM pg_catalog.pg_attribute
                          WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped) AS columns,
                    ARRAY(SELECT p FROM pg_catalog.unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p
                          WHERE pg_catalog.has_table_privilege(pg_class.oid, p)) AS privileges
             FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass($1)::oid`,
      values: [table],
    },
    deadlineMs,
  );
  if (row === undefined) return null;
  const kindName = kindNames[row.kind] ?? "relation of another kind";
  const kind = kindName === "table" || kindName === "partitioned table" ? kindName : "other";
  return { kind, kindName, columns: row.columns, privileges: row.privileges };
}
