import { maskDsn } from "../db/dsn.ts";

/** The value of a variable as it may stand in a message: secrets are `***`. */
export function maskValue(name: string, text: string): string {
  if (/^(WEBHOOK_SECRET|WEBHOOK_AUTHORIZATION|CERTSTREAM_AUTHORIZATION)$/.test(name)) return "***";
  if (name === "POSTGRES_DSN") return maskDsn(text);
  if (name === "WEBHOOK_URL") return maskWebhookUrl(text);
  if (name === "CERTSTREAM_URL") {
    const masked = text.split(",").map(maskUrl);
    // A comma in a password leaves two pieces, of which the first may read as host and port.
    return masked.includes("***") ? "***" : masked.join(",");
  }
  return JSON.stringify(text);
}

/** An `@` after the end of the host. Then a password contains `/`, `?` or `#` unencoded, and the parser takes that for the end of the host. */
const hasLateAt = /^\s*\w+:\/\/[^/?#\\]*[/?#\\].*@/s;

/**
 * A URL as it may be logged: credentials and query become `***`. The whole text becomes `***` where the parser cannot be
 * trusted to find them: `user:secret@host` is a URL with the scheme `user:` to it, and a password with an unencoded `/`
 * looks like host and port.
 */
export function maskUrl(text: string): string {
  if (!/^\s*(https?|wss?):\/\//i.test(text) || !URL.canParse(text) || hasLateAt.test(text)) return "***";
  const masked = new URL(text);
  const credentials = masked.username !== "" || masked.password !== "" ? "***@" : "";
  const query = masked.search === "" ? "" : "?***";
  return `${masked.protocol}//${credentials}${masked.host}${masked.pathname}${query}`;
}

/** As {@link maskUrl}, and the path becomes `***`, too: with n8n, Slack and others, whoever knows the path may post. */
export function maskWebhookUrl(text: string): string {
  return maskUrl(text).replace(/^(\w+:\/\/[^/]+)\/.+$/, "$1/***");
}
