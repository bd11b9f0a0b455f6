import { type AlertRow, listAlerts } from "../alerts/sql/list-alerts.ts";
import { type Column, formatTable, formatTime, jsonLine } from "../terminal.ts";
import { UsageError } from "./errors.ts";
import { parseSince } from "./since.ts";
import { commandDeadlineMs, type DatabaseFlags, withDatabase } from "./with-database.ts";

export interface AlertsOptions extends DatabaseFlags {
  json: boolean;
  severity?: string | undefined;
  since?: string | undefined;
  limit: string;
}

const maxLimit = 100_000;

const columns: Column[] = [
  { title: "ID" },
  { title: "WHEN (UTC)" },
  { title: "SEVERITY" },
  { title: "STATE" },
  { title: "NAMES", maxWidth: 40 },
  { title: "ISSUER", maxWidth: 24 },
  { title: "BASIS" },
  { title: "REASON" },
];

/** Prints the newest alerts, newest first. */
export async function alerts(options: AlertsOptions): Promise<void> {
  const { json, severity = null } = options;
  const limit = /^\d{1,6}$/.test(options.limit) ? Number(options.limit) : 0;
  if (limit < 1 || limit > maxLimit) {
    throw new UsageError(
      `--limit ${JSON.stringify(options.limit)}: allowed is a whole number from 1 to ${maxLimit}`,
    );
  }
  const sinceEpochSeconds = options.since === undefined ? null : parseSince(options.since);
  const cells: string[][] = [];
  await withDatabase({ ...options, mayCreate: false }, async (db) => {
    const query = { severity, sinceEpochSeconds, limit, deadlineMs: commandDeadlineMs };
    for await (const page of listAlerts(db, query)) {
      if (json) for (const row of page) console.log(jsonLine(toJson(row)));
      else cells.push(...page.map(toCells));
    }
  });
  if (json) return;
  console.log(cells.length === 0 ? "No alerts." : formatTable(columns, cells));
  if (cells.length === limit) console.error(`Only the newest ${limit} are shown: --limit shows more.`);
}

function toJson({ at, ...row }: AlertRow): object {
  return { ...row, at: new Date(at * 1000).toISOString() };
}

/** More names than the column has room for. */
const maxShownNames = 40;

function toCells(row: AlertRow): string[] {
  return [
    String(row.id),
    formatTime(row.at),
    row.severity,
    row.state,
    Array.isArray(row.names) ? row.names.slice(0, maxShownNames).join(", ") : "",
    row.issuer ?? "",
    row.basis ?? "",
    (row.state === "given up" && row.last_error ? `[${row.last_error}] ` : "") + (row.reason ?? ""),
  ];
}
