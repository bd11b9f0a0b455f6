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
  const rows = await withDatabase({ ...options, mayCreate: false }, (db) =>
    listAlerts(db, { severity, sinceEpochSeconds, limit, deadlineMs: commandDeadlineMs }),
  );
  if (json) {
    for (const row of rows) console.log(jsonLine(toJson(row)));
    return;
  }
  console.log(rows.length === 0 ? "No alerts." : formatTable(columns, rows.map(toCells)));
  if (rows.length === limit) console.error(`Only the newest ${limit} are shown: --limit shows more.`);
}

function toJson({ at, ...row }: AlertRow): object {
  return { ...row, at: new Date(at * 1000).toISOString() };
}

function toCells(row: AlertRow): string[] {
  return [
    String(row.id),
    formatTime(row.at),
    row.severity,
    row.state,
    Array.isArray(row.names) ? row.names.join(", ") : "",
    row.issuer ?? "",
    row.basis ?? "",
    (row.state === "given up" && row.last_error ? `[${row.last_error}] ` : "") + (row.reason ?? ""),
  ];
}
