/**
 * The statements that a running service sends. People read these names in the log (`statement`), in "the database did
 * not answer ... in time", and as the label `statement` of the metrics. The label has no other values, and each value
 * has its series from the start.
 */
export const serviceStatements = [
  "record certificates",
  "find due certificates",
  "find the next judgement",
  "find by fingerprint",
  "find by TBS hash",
  "find by serial number",
  "find open incidents",
  "judge certificates",
  "clear incidents",
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
  // BEGIN, COMMIT, ROLLBACK, and getting a connection for these.
  "transaction",
  // The first query on a new connection: does the server fit `target_session_attrs`?
  "check the session",
] as const;
export type ServiceStatement = (typeof serviceStatements)[number];

/** The statements of commands, and of the service's start, when there are no metrics yet. */
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

/** All names that a statement can have. A new statement needs a new name here. */
export type StatementName = ServiceStatement | CommandStatement;
