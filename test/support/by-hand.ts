import type { StatementName } from "../../src/db/statement-names.ts";

/** The name of what a test does to the database itself: none of the service's statements has it. */
export const byHand = "by hand" as StatementName;
