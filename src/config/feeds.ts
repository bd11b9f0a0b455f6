import { z } from "zod";
import { maskUrl } from "./mask.ts";
import { oneLine, url } from "./values.ts";

/** One certstream feed. */
export interface FeedConfig {
  /** The feed's URL. May contain user, password and query. */
  url: string;
  /** The feed's name in logs and metrics: the URL without secrets, and a number if two names would be the same. */
  name: string;
  /** The value of the `Authorization` header; `null`: made from user and password in the URL, if there are any. */
  authorization: string | null;
}

const places = (list: string) => list.split(",").map((text) => text.trim());

/** The form of `CERTSTREAM_URL`. */
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

/** The form of `CERTSTREAM_AUTHORIZATION`: one value for each URL of `CERTSTREAM_URL`, empty if a feed needs none. */
export const feedAuthorizations = z
  .string()
  .optional()
  .transform((list) => (list === undefined ? [] : places(list)))
  .superRefine((values, context) => {
    if (values.some((text) => text !== "" && oneLine(text) !== null))
      context.addIssue({ code: "custom", message: oneLine("\n")! });
  });

/**
 * Returns the problem if `CERTSTREAM_AUTHORIZATION` has not as many values as `CERTSTREAM_URL` has URLs; `null` if all
 * is well. A token must not reach another server than its own, so nothing is guessed if the numbers differ.
 */
export function authorizationProblem(authorizations: string | undefined, urls: string | undefined) {
  if (authorizations === undefined) return null;
  const { length: urlCount } = feedUrls.safeParse(urls).data ?? [];
  const { length: placeCount } = places(authorizations);
  if (urlCount === 0 || placeCount === urlCount) return null;
  return `CERTSTREAM_AUTHORIZATION=***: has ${placeCount} places, and CERTSTREAM_URL has ${urlCount} URLs: give one value for each URL, in the same order, separated by commas, and leave the place empty of a feed that wants none`;
}

/** Returns one feed for each different URL. Two spellings of one URL are the same feed; the first of them counts. */
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
