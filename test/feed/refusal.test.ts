import { describe, expect, test } from "vitest";
import { feedTarget, refusalOf, withoutSecrets } from "../../src/feed/refusal.ts";

const at = (url: string, authorization: string | null = null) => feedTarget(url, authorization);

describe("a redirect of the upgrade", () => {
  const redirectOf = (from: string, location: string, status = 301) =>
    refusalOf(at(from), status, { location });

  test.each([
    ["ws://ct.example/full-stream", "https://ct.example/full-stream", "wss://ct.example/full-stream"],
    ["ws://ct.example/full-stream", "wss://CT.example:443/x?a=b", "wss://ct.example/x?a=b"],
    ["ws://ct.example:80/", "http://ct.example/full-stream", "ws://ct.example/full-stream"],
    ["ws://ct.example:8080/a/b", "c#part", "ws://ct.example:8080/a/c"],
    ["ws://ct.example:8080/", "https://ct.example:8080/", "wss://ct.example:8080/"],
    ["wss://ct.example/", "/full-stream", "wss://ct.example/full-stream"],
    ["ws://user:pass@ct.example/", "//other:word@ct.example/x", "ws://ct.example/x"],
    ["ws://[2001:db8::1]:8080/", "/x", "ws://[2001:db8::1]:8080/x"],
  ])("from %s to %s is followed", (from, location, to) => {
    for (const status of [301, 302, 303, 307, 308])
      expect(redirectOf(from, location, status).redirect?.href).toBe(to);
  });

  test.each([
    [
      "ws://ct.example/",
      "https://other.example/full-stream",
      "wss://other.example/full-stream",
      "another host",
    ],
    ["ws://ct.example/", "https://www.ct.example/", "wss://www.ct.example/", "another host"],
    ["ws://ct.example/", "https://ct.example:8443/", "wss://ct.example:8443/", "another port"],
    ["ws://ct.example:8080/", "https://ct.example/", "wss://ct.example/", "another port"],
    ["ws://ct.example:8080/", "http://ct.example/", "ws://ct.example/", "another port"],
    ["ws://ct.example/", "http://ct.example:443/", "ws://ct.example:443/", "another port"],
    ["wss://ct.example:8443/", "https://ct.example/", "wss://ct.example/", "another port"],
    ["wss://ct.example/", "http://ct.example/", "ws://ct.example/", "without TLS"],
    ["wss://ct.example:8443/", "http://ct.example:8443/", "ws://ct.example:8443/", "without TLS"],
    ["ws://ct.example/", "ftp://ct.example/x", "ftp://ct.example/x", "no feed's URL"],
    ["ws://ct.example/", "//login.example/?next=/full-stream", "ws://login.example/", "another host"],
  ])("from %s to %s is not, and the reason names the target", (from, location, target, why) => {
    const { redirect, reason } = redirectOf(from, location);
    expect(redirect).toBeNull();
    expect(reason).toContain(`redirects to ${target} (HTTP 301), which is not followed: it is ${why}`);
    expect(reason).not.toContain("next=");
  });

  test("that says not where to is a refusal", () => {
    const nowhere = "the server redirects, and does not say where to (HTTP 302)";
    expect(refusalOf(at("ws://ct.example/"), 302, {})).toMatchObject({ redirect: null, reason: nowhere });
    expect(redirectOf("ws://ct.example/", "https://a b/", 302)).toMatchObject({
      redirect: null,
      reason: nowhere,
    });
    expect(refusalOf(at("ws://ct.example/"), 401, { location: "/x" }).redirect).toBeNull();
  });

  test("shows a bounded part of the target, and none of the feed's secrets in it", () => {
    const from = "ws://user:pass%20word@ct.example/?token=t0k/n";
    const echo = "https://login.example/next/token=t0k%2Fn/pass%20word/dXNlcjpwYXNzIHdvcmQ=/";
    const { reason } = redirectOf(from, `${echo}${"x".repeat(10_000)}`);
    expect(reason).toContain("wss://login.example/next/");
    expect(reason).not.toMatch(/t0k|pass.{0,3}word|dXNlcjpwYXNzIHdvcmQ/);
    expect(reason.length).toBeLessThan(500);
  });
});

describe("a refusal says what it is", () => {
  test.each([
    [401, null, "set CERTSTREAM_AUTHORIZATION"],
    [401, "Bearer t0ken", "check CERTSTREAM_AUTHORIZATION"],
    [403, null, "CERTSTREAM_AUTHORIZATION"],
    [403, "Bearer t0ken", "check CERTSTREAM_AUTHORIZATION"],
    [404, null, "no ws://ct.example:8080/nowhere (HTTP 404)"],
    [200, null, "a page, not with a WebSocket"],
    [400, null, "pass the Upgrade header on"],
    [426, null, "pass the Upgrade header on"],
    [429, null, "too many clients"],
    [502, null, "in trouble"],
    [418, null, "refused (HTTP 418)"],
  ])("HTTP %i, with %s sent", (status, authorization, words) => {
    const { reason, redirect } = refusalOf(at("ws://ct.example:8080/nowhere?x=1", authorization), status, {});
    expect(reason).toContain(words);
    expect(reason).toContain(`(HTTP ${status})`);
    expect(reason).not.toContain("t0ken");
    expect(redirect).toBeNull();
  });

  test("and how long to wait, five minutes at most", () => {
    const wait = (value: string) => refusalOf(at("ws://a/"), 429, { "retry-after": value }).retryAfterMs;
    expect([wait("7"), wait("100000"), wait("soon")]).toEqual([7_000, 300_000, 0]);
  });
});

describe("credentials", () => {
  const basic = (text: string) => `Basic ${Buffer.from(text).toString("base64")}`;
  test.each([
    ["ws://ct.example/x", null, null],
    ["ws://us%40er:p%3Ass@ct.example/x", null, basic("us@er:p:ss")],
    ["ws://user@ct.example/x", null, basic("user:")],
    ["ws://user:pass@ct.example/x", "Bearer t0ken", "Bearer t0ken"],
    ["ws://ct.example/x", "Bearer t0ken", "Bearer t0ken"],
  ])("of %s and %s", (url, given, authorization) => {
    const target = feedTarget(url, given);
    expect(target.authorization).toBe(authorization);
    expect(target.url.href).toBe("ws://ct.example/x");
  });

  test("are taken out of texts for the log, in the forms that servers repeat", () => {
    const url = "ws://user:p%3Ass/word@ct.example/?token=t0k%2Fen&lite=1".replace("/word", "%2Fword");
    const target = at(url);
    for (const secret of [
      "p:ss/word",
      encodeURIComponent("p:ss/word"),
      "t0k/en",
      "t0k%2Fen",
      "token=t0k%2Fen&lite=1",
    ]) {
      expect(withoutSecrets(target, `a ${secret} b`)).toBe("a *** b");
    }
    expect(withoutSecrets(target, `got ${target.authorization}`)).toBe("got ***");
    expect(withoutSecrets(target, "lite=1 user 1")).toBe("lite=1 user 1");
    expect(withoutSecrets(at("ws://a/", "Bearer abcdef"), "no abcdef here")).toBe("no *** here");
  });
});
