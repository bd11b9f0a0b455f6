/**
 * The statements that a running service sends, by the name that people read: in the log (`statement`), in "the database
 * did not answer ... in time", and as the label `statement` of the metrics. Each has its series from the start, so this
 * list is what keeps the label set closed.
 */
export const serviceStatements = [
  "record certificates",
  "find due certificates",
  "find the next judgement",
  "find by fingerprint",
  "find by TBS hash",
  "find by serial number",
  "judge certificates",
  "claim deliveries",
  "find the next delivery",
  "settle deliveries",
  "release deliveries",
  "give up expired claims",
  "adopt observed alerts",
  "prune alerts",
  "count alerts",
  "read the watch list",
  "describe a table",
  "list the inventory's indexes",
  // BEGIN, COMMIT, ROLLBACK, and finding a connection for them.
  "transaction",
  // Whether a server that was just connected to is what `target_session_attrs` asks for.
  "check the session",
] as const;
export type ServiceStatement = (typeof serviceStatements)[number];

/** Statements of commands, and of the start before there are metrics. */
type CommandStatement =
  | "check the schema"
  | "apply the schema"
  | "reach the embedded database"
  | "list alerts"
  | "redeliver alerts"
  | "count redeliverable alerts"
  | "list the inventory"
  | "add to the inventory"
  | "remove from the inventory"
  | "migrate the inventory"
  | "add to the watch list"
  | "remove from the watch list";

/** Every name that a statement can have. A new statement gets its name here. */
export type StatementName = ServiceStatement | CommandStatement;
