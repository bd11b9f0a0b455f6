/**
 * JSON that Postgres takes: U+0000 and lone surrogates, which certificates may contain and JSONB and TEXT refuse, become
 * U+FFFD.
 */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_key, item) =>
    typeof item === "string" ? item.toWellFormed().replaceAll("\0", "\ufffd") : item,
  );
}
