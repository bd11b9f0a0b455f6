import { maskDsn } from "../db/dsn.ts";

/** Returns the value of a variable for use in a message: secrets become `***`. */
export function maskValue(name: string, text: string): string {
  if (/^(WEBHOOK_SECRET|WEBHOOK_AUTHORIZATION|CERTSTREAM_AUTHORIZATION)$/.test(name)) return "***";
  if (name === "POSTGRES_DSN") return maskDsn(text);
  if (name === "WEBHOOK_URL") return maskWebhookUrl(text);
  if (name === "CERTSTREAM_URL") {
    const masked = text.split(",").map(maskUrl);
    // A comma in a password cuts the URL into two pieces, and the first piece may look like host and port.
    return masked.includes("***") ? "***" : masked.join(",");
  }
  return JSON.stringify(text);
}

/** Matches a URL with an `@` behind its host. Then a password may contain an unencoded `/`, `?` or `#`. */
const hasLateAt = /^\s*\w+:\/\/[^/?#\\]*[/?#\\].*@/s;

/**
 * Returns a URL for logging: credentials and query become `***`. The whole text becomes `***` if the URL parser may not
 * find the credentials: the parser reads `user:secret@host` as a URL with the scheme `user:`, and takes a password with
 * an unencoded `/` for host and port.
 */
export function maskUrl(text: string): string {
  if (!/^\s*(https?|wss?):\/\//i.test(text) || !URL.canParse(text) || hasLateAt.test(text)) return "***";
  const masked = new URL(text);
  const credentials = masked.username !== "" || masked.password !== "" ? "***@" : "";
  const query = masked.search === "" ? "" : "?***";
  return `${masked.protocol}//${credentials}${masked.host}${masked.pathname}${query}`;
}

/** Like {@link maskUrl}, but the path becomes `***`, too: whoever knows the path of a Slack or n8n hook may post. */
export function maskWebhookUrl(text: string): string {
  return maskUrl(text).replace(/^(\w+:\/\/[^/]+)\/.+$/, "$1/***");
}
