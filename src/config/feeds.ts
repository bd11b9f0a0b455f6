import { z } from "zod";
import { maskUrl } from "./mask.ts";
import { oneLine, url } from "./values.ts";

/** One certstream feed. */
export interface FeedConfig {
  /** May have user, password and query in it. */
  url: string;
  /** In logs and metrics: the URL without secrets, and a number where two would be the same. */
  name: string;
  /** The value of the `Authorization` header. `null`: what user and password in the URL come to, if they are there. */
  authorization: string | null;
}

const places = (list: string) => list.split(",").map((text) => text.trim());

/** The value of `CERTSTREAM_URL`. */
export const feedUrls = z
  .string()
  .default("ws://localhost:8080/full-stream")
  .transform((list) => places(list).filter((text) => text !== ""))
  .superRefine((urls, context) => {
    if (urls.length === 0) context.addIssue({ code: "custom", message: "no URL in it" });
    for (const text of urls) {
      const problem = url(["ws://", "wss://"], text);
      if (problem !== null) context.addIssue({ code: "custom", message: problem });
    }
  });

/** The value of `CERTSTREAM_AUTHORIZATION`: a place for each URL of `CERTSTREAM_URL`, empty where a feed wants none. */
export const feedAuthorizations = z
  .string()
  .optional()
  .transform((list) => (list === undefined ? [] : places(list)))
  .superRefine((values, context) => {
    if (values.some((text) => text !== "" && oneLine(text) !== null))
      context.addIssue({ code: "custom", message: oneLine("\n")! });
  });

/**
 * What is wrong with `CERTSTREAM_AUTHORIZATION` beside `CERTSTREAM_URL`, as given; `null`: nothing. A token must not reach
 * a server that it was not meant for, so nothing is guessed where the two have not the same number of places.
 */
export function authorizationProblem(authorizations: string | undefined, urls: string | undefined) {
  if (authorizations === undefined) return null;
  const { length: urlCount } = feedUrls.safeParse(urls).data ?? [];
  const { length: placeCount } = places(authorizations);
  if (urlCount === 0 || placeCount === urlCount) return null;
  return `CERTSTREAM_AUTHORIZATION=***: has ${placeCount} places, and CERTSTREAM_URL has ${urlCount} URLs: give one value for each URL, in the same order, separated by commas, and leave the place empty of a feed that wants none`;
}

/** Feeds are the same when their URLs are, however they are written. The first of them counts. */
export function toFeedConfigs(texts: string[], authorizations: string[]): FeedConfig[] {
  const authorizationOf = new Map<string, string | null>();
  for (const [i, text] of texts.entries()) {
    const { href } = new URL(text);
    if (!authorizationOf.has(href)) authorizationOf.set(href, authorizations[i] || null);
  }
  const urls = [...authorizationOf.keys()];
  const masked = urls.map(maskUrl);
  return urls.map((url, i) => {
    const before = masked.slice(0, i).filter((name) => name === masked[i]).length;
    const name = before === 0 ? masked[i]! : `${masked[i]} (${before + 1})`;
    return { url, name, authorization: authorizationOf.get(url)! };
  });
}
