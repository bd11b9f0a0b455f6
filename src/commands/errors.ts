/** The error for a command line that makes no sense. The exit status is 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The error for a change that this database does not allow. The message says what to do. The exit status is 1. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
}
