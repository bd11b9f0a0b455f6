/**
 * Writes JSON that Postgres accepts. Certificates may contain U+0000 and lone surrogates, which JSONB and TEXT refuse:
 * these characters become U+FFFD.
 */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_key, item) =>
    typeof item === "string" ? item.toWellFormed().replaceAll("\0", "\ufffd") : item,
  );
}
