import type { IncomingHttpHeaders } from "node:http";
import { retryAfterSeconds } from "../retry-after.ts";

/** The longest wait that a server may ask for with `Retry-After`. */
const maxRetryAfterSeconds = 300;
/** The longest URL that is shown in full, characters. */
const maxShownLength = 200;
/** The length of the shortest secret that is masked. Shorter texts are no secrets, and could stand in any text. */
const minSecretLength = 4;

/** The URL and the credentials of a feed. */
export interface FeedTarget {
  /** The feed's URL without user and password. */
  url: URL;
  /** The value of the `Authorization` header. */
  authorization: string | null;
}

/** The meaning of an HTTP answer that does not upgrade the connection. */
export interface Refusal {
  /** Says what the server answered and what to do about it. */
  reason: string;
  /** The wait that the server asked for with `Retry-After`; 0 if the answer has no such header. */
  retryAfterMs: number;
  /** The URL that the answer redirects to; `null` if there is none, or if certwatch may not follow the redirect. */
  redirect: URL | null;
}

/**
 * Takes user and password out of a feed's URL (RFC 7617).
 *
 * @param authorization if not `null`, is used in place of user and password.
 */
export function feedTarget(text: string, authorization: string | null): FeedTarget {
  const url = new URL(text);
  const credentials = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  url.username = "";
  url.password = "";
  if (authorization !== null || credentials === ":") return { url, authorization };
  return { url, authorization: `Basic ${Buffer.from(credentials).toString("base64")}` };
}

/** Explains an answer with a status other than 101 to an upgrade. */
export function refusalOf(target: FeedTarget, status: number, headers: IncomingHttpHeaders): Refusal {
  const retryAfterMs = (retryAfterSeconds(headers["retry-after"], maxRetryAfterSeconds) ?? 0) * 1000;
  const location = status >= 300 && status < 400 ? headers.location : undefined;
  if (location === undefined || !URL.canParse(location, target.url.href))
    return { reason: reasonFor(target, status), retryAfterMs, redirect: null };
  const redirect = feedUrl(new URL(location, target.url));
  const objection = objectionTo(target.url, redirect);
  const reason = `the server redirects to ${shown(target, redirect)} (HTTP ${status})`;
  if (objection === null) return { reason, retryAfterMs, redirect };
  return {
    reason: `${reason}, which is not followed: ${objection}. If the feed is there, put that into CERTSTREAM_URL`,
    retryAfterMs,
    redirect: null,
  };
}

/** Returns why a redirect is not followed; `null` if it is. A token must never reach another server than its own. */
function objectionTo(from: URL, to: URL): string | null {
  if (to.protocol !== "ws:" && to.protocol !== "wss:") return "it is no feed's URL";
  if (to.hostname !== from.hostname) return "it is another host";
  if (from.protocol === "wss:" && to.protocol === "ws:") return "it is without TLS";
  const isSamePort = portOf(to) === portOf(from);
  const isMoveToTls = portOf(from) === 80 && portOf(to) === 443 && to.protocol === "wss:";
  return isSamePort || isMoveToTls ? null : "it is another port";
}

const portOf = ({ port, protocol }: URL) => (port === "" ? (protocol === "wss:" ? 443 : 80) : Number(port));

/** Turns `https:`, which servers and proxies write, into `wss:`. Drops credentials, which no redirect needs. */
function feedUrl(redirect: URL): URL {
  const url = new URL(redirect.href.replace(/^http(s?):/, "ws$1:"));
  url.hash = "";
  url.username = "";
  url.password = "";
  return url;
}

/** Returns a URL's origin and path, for logging. The query may hold secrets; servers may copy secrets to the path. */
function shown(target: FeedTarget, { protocol, host, pathname }: URL): string {
  const text = withoutSecrets(target, `${protocol}//${host}${pathname}`);
  return text.length > maxShownLength ? `${text.slice(0, maxShownLength)}…` : text;
}

function reasonFor(target: FeedTarget, status: number): string {
  const http = `(HTTP ${status})`;
  if (status === 401 || status === 403) {
    if (target.authorization !== null)
      return `the server does not accept the credentials ${http}: check CERTSTREAM_AUTHORIZATION, or user and password in CERTSTREAM_URL`;
    return status === 401
      ? `the server wants credentials ${http}: set CERTSTREAM_AUTHORIZATION, for certstream-server-rust to "Bearer" and a token`
      : `the server does not let this client in ${http}: it may want credentials (CERTSTREAM_AUTHORIZATION), or accept other client addresses only`;
  }
  if (status === 404)
    return `the server has no ${shown(target, target.url)} ${http}: the feeds of most servers are at /full-stream and /`;
  if (status === 429) return `the server has too many clients, or is asked too often ${http}`;
  if (status === 400 || status === 426)
    return `the server saw no WebSocket upgrade ${http}: does a proxy in front of it pass the Upgrade header on?`;
  if (status >= 200 && status < 300)
    return `the server answered with a page, not with a WebSocket ${http}: is this the path of the feed, and does a proxy in front of it pass upgrades on?`;
  if (status >= 500) return `the server, or a proxy in front of it, is in trouble ${http}`;
  if (status >= 300 && status < 400) return `the server redirects, and does not say where to ${http}`;
  return `the server refused ${http}`;
}

/** Masks the feed's secrets in a text for logging. Servers repeat secrets in redirects and in Close frames. */
export function withoutSecrets({ url, authorization }: FeedTarget, text: string): string {
  const [, token = ""] = /^\S+ +(.*)$/.exec(authorization ?? "") ?? [];
  const [, password = ""] = /^[^:]*:(.*)$/s.exec(Buffer.from(token, "base64").toString("utf8")) ?? [];
  const secrets = [authorization ?? "", token, password, url.search.slice(1), ...url.searchParams.values()];
  return secrets
    .filter((secret) => secret.length >= minSecretLength)
    .flatMap((secret) => [secret, encodeURIComponent(secret)])
    .sort((a, b) => b.length - a.length)
    .reduce((masked, secret) => masked.replaceAll(secret, "***"), text);
}
