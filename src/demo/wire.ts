import { type LogEntry, loggedCertificate } from "./log-entry.ts";
import { caliDogMessage, rustDomains, rustMessage } from "./wire-dialects.ts";
import { goDomains, goMessage } from "./wire-go.ts";

/** The feeds of a certstream server. */
export type Feed = "full" | "lite" | "domains-only";

/** The certstream servers whose message formats the simulator can write. */
export type CertstreamServer = "go" | "rust" | "calidog";

/** Returns the text of the message that a certstream server sends for a log entry. */
export function wireMessage(
  entry: LogEntry,
  { feed = "full", server = "go" }: { feed?: Feed; server?: CertstreamServer } = {},
): string {
  if (feed === "domains-only") return domainsMessage(entry, server);
  const isLite = feed === "lite";
  if (server === "go") return `${goJson(goMessage(entry, isLite))}\n`;
  return JSON.stringify(server === "rust" ? rustMessage(entry, isLite) : caliDogMessage(entry, isLite));
}

/** Returns a message with names only. Only in such messages, the Go server escapes HTML and writes no final newline. */
function domainsMessage(entry: LogEntry, server: CertstreamServer): string {
  const { fields } = loggedCertificate(entry);
  const message_type = "dns_entries";
  if (server === "rust") return JSON.stringify({ message_type, data: rustDomains(fields) });
  const escapeHtml = (c: string) => `\\u00${c.charCodeAt(0).toString(16)}`;
  return goJson({ data: goDomains(fields), message_type }).replace(/[<>&]/g, escapeHtml);
}

/** Writes JSON as Go's encoder does, which escapes U+2028 and U+2029. */
const goJson = (value: unknown): string =>
  JSON.stringify(value).replace(/[\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16)}`);
