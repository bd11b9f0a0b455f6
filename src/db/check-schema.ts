import { describeTable } from "./describe-table.ts";
import type { Database } from "./pool.ts";

/**
 * The database answers, but certwatch cannot use it. The message names the missing table, column or privilege, and the
 * command that adds it.
 */
export class SchemaError extends Error {
  override readonly name = "SchemaError";
}

/** The tables that the service uses, with the privileges and columns that the service must have. */
const needed = [
  { table: "public.intent_current", privileges: ["SELECT"], columns: ["fqdn"] },
  {
    table: "public.certs",
    privileges: ["SELECT"],
    columns: ["fingerprint_sha1", "serial", "sans", "not_before", "not_after"],
  },
  {
    table: "public.alerts",
    privileges: ["SELECT", "INSERT", "UPDATE", "DELETE"],
    columns: [
      "id",
      "certificate_key",
      "event_number",
      "merged_keys",
      "excused_by",
      "tbs_sha256",
      "der_state",
      "der",
      "row_bytes",
      "serial_key",
      "excuse_key",
      "excuse_until",
      "event_type",
      "incident_key",
      "cleared_at",
      "merged_at",
      "match_basis",
      "payload",
      "next_attempt_at",
      "postponed_since",
      "given_up_at",
    ],
  },
];

const migrate =
  'apply the schema with "certwatch migrate" (or: psql "$POSTGRES_DSN" -f schema.sql) as a role that may create tables';

/**
 * Checks that the database has all tables, columns and privileges that the service needs.
 *
 * @throws SchemaError that names everything that is missing, or the database's own error if a query of the check fails.
 */
export async function checkSchema(db: Database, deadlineMs: number): Promise<void> {
  const problems: string[] = [];
  for (const { table, privileges, columns } of needed) {
    const found = await describeTable(db, table, deadlineMs);
    if (found === null) {
      problems.push(`the table ${table} does not exist: ${migrate}`);
      continue;
    }
    const missingColumns = columns.filter((column) => !found.columns.includes(column));
    if (missingColumns.length > 0) {
      problems.push(`the table ${table} lacks ${missingColumns.join(", ")}: ${columnsHint(table)}`);
    }
    const missingPrivileges = privileges.filter((privilege) => !found.privileges.includes(privilege));
    if (missingPrivileges.length > 0) {
      problems.push(
        `no privilege on ${table}: as its owner, run: GRANT ${missingPrivileges.join(", ")} ON ${table} TO ${await currentRole(db, deadlineMs)};`,
      );
    }
  }
  problems.push(...(await sequenceProblems(db, deadlineMs)));
  if (problems.length === 0) problems.push(...(await indexProblems(db, deadlineMs)));
  if (problems.length > 0) throw new SchemaError(problems.join("\n"));
}

function columnsHint(table: string): string {
  return table === "public.alerts" ? migrate : "it belongs to an upstream system, which has to provide it";
}

/** The indexes without which two replicas would make two events of one certificate. */
const neededIndexes = [
  "alerts_certificate_key",
  "alerts_event",
  "alerts_excuse_key",
  "alerts_excused_by",
  "alerts_accepts",
];

async function indexProblems(db: Database, deadlineMs: number): Promise<string[]> {
  const valid = await db.query<{ index: string }>(
    {
      name: "check the schema",
      text: `SELECT relname::text AS index FROM pg_catalog.pg_index JOIN pg_catalog.pg_class ON pg_class.oid = indexrelid
             WHERE indrelid = pg_catalog.to_regclass('public.alerts')::oid AND indisvalid AND indisunique`,
    },
    deadlineMs,
  );
  const missing = neededIndexes.filter((needed) => !valid.some(({ index }) => index === needed));
  return missing.map((index) => `the table public.alerts lacks the unique index ${index}: ${migrate}`);
}

async function sequenceProblems(db: Database, deadlineMs: number): Promise<string[]> {
  const [found] = await db.query<{ sequence: string | null; usable: boolean | null }>(
    {
      name: "check the schema",
      text: `SELECT s.name AS sequence, pg_catalog.has_sequence_privilege(s.name, 'USAGE') AS usable
             FROM (SELECT CASE WHEN pg_catalog.has_table_privilege(pg_catalog.to_regclass('public.alerts'), 'SELECT')
                               THEN pg_catalog.pg_get_serial_sequence('public.alerts', 'id') END AS name
                   WHERE pg_catalog.to_regclass('public.alerts') IS NOT NULL) AS s`,
    },
    deadlineMs,
  );
  if (found?.sequence == null || found.usable !== false) return [];
  return [
    `no privilege on the sequence ${found.sequence}: as its owner, run: GRANT USAGE ON SEQUENCE ${found.sequence} TO ${await currentRole(db, deadlineMs)};`,
  ];
}

async function currentRole(db: Database, deadlineMs: number): Promise<string> {
  const [row] = await db.query<{ role: string }>(
    { name: "check the schema", text: `SELECT pg_catalog.quote_ident(current_user) AS role` },
    deadlineMs,
  );
  return row!.role;
}
