/** The command line makes no sense: exit status 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** What was asked for cannot be done to this database; the message says what to do instead: exit status 1. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
}
