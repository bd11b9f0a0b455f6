import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EchoMask } from "../../src/alerts/echo-mask.ts";

const path = "3f9a-Kq/7~üx";
const token = "tok/+Zq9==";
const password = 'p"ä&4\\x';
const url = `https://hook.example/webhook/${encodeURI(path)}?key=${encodeURIComponent(token)}&plain=abc`;
const mask = new EchoMask({ url, tokens: [password] });

const base64 = (text: string) => Buffer.from(text).toString("base64");
const inLines = (text: string) => base64(text).replaceAll(/.{20}(?=.)/g, "$&\r\n");
const codes = (text: string, form: (code: number) => string) =>
  Array.from({ length: text.length }, (_, i) => form(text.charCodeAt(i))).join("");
const bytes = (text: string, form: (byte: number) => string) => [...Buffer.from(text)].map(form).join("");

const encodings: Record<string, (text: string) => string> = {
  "as it is": (text) => text,
  "in lower case": (text) => text.toLowerCase(),
  "percent-encoded": encodeURIComponent,
  "percent-encoded wholly": (text) => bytes(text, (byte) => `%${byte.toString(16).padStart(2, "0")}`),
  "in JSON": (text) => JSON.stringify(text).slice(1, -1),
  "in JSON, as ASCII": (text) => codes(text, (code) => `\\u${code.toString(16).padStart(4, "0")}`),
  "in JSON, slashes too": (text) => JSON.stringify(text).slice(1, -1).replaceAll("/", "\\/"),
  "in HTML": (text) => text.replaceAll("&", "&amp;").replaceAll('"', "&quot;"),
  "in HTML, by numbers": (text) => Array.from(text, (one) => `&#${one.codePointAt(0)};`).join(""),
  "in HTML, by hexadecimal numbers": (text) =>
    Array.from(text, (one) => `&#x${one.codePointAt(0)!.toString(16)};`).join(""),
  "in base64": base64,
  "in base64 of a URL": (text) => Buffer.from(text).toString("base64url"),
  "in base64, behind something": (text) => base64(`user:${text}`),
  "in base64, in lines": (text) => inLines(`{"authorization":"${text}"}`),
  "in hexadecimal": (text) => Buffer.from(text).toString("hex"),
};
const names = Object.keys(encodings);

describe("what a receiver repeats of a secret is ***", () => {
  const secrets = [path, encodeURI(path), token, encodeURIComponent(token), password];
  const cases = names.flatMap((name) => secrets.map((secret) => [name, secret] as const));

  test.each(cases)("%s: %s", (name, secret) => {
    const text = `<b>no ${encodings[name]!(secret)} here</b>`;
    expect(mask.mask(text)).toBe("<b>no *** here</b>");
    expect(mask.mask(Buffer.from(text))).toBe("<b>no *** here</b>");
  });

  test("also encoded twice", () => {
    const encoding = fc.constantFrom(...names.filter((name) => name !== "in lower case"));
    fc.assert(
      fc.property(fc.constantFrom(...secrets), encoding, encoding, (secret, inner, outer) => {
        const encoded = encodings[outer]!(encodings[inner]!(secret));
        expect(mask.mask(`(${encoded})`)).toMatch(/^\(\*\*\*.{0,4}\)$/s);
      }),
      { numRuns: 1_000 },
    );
  });

  test("also in UTF-16", () => {
    expect(mask.mask(Buffer.from(`no ${token} here`, "utf16le")).replaceAll("\0", "")).toBe("no *** here");
  });

  test("and of a piece of it, wherever that was cut off", () => {
    const long = "Zk3q0Yh-8s1PwVtR7m_LcXd2";
    const cut = new EchoMask({ url: `https://hook.example/${long}`, tokens: [] });
    for (let start = 0; start <= long.length - 6; start += 1) {
      for (let end = start + 6; end <= long.length; end += 1) {
        expect(cut.mask(`/${long.slice(start, end)}...`)).toMatch(/^\/?\*\*\*\.\.\.$/);
      }
    }
  });
});

describe("what says why is left", () => {
  test.each([
    [
      "https://hooks.slack.com/services/T0AB/B0CD/3f9aKq",
      ["no_service", "invalid_token", "action_prohibited"],
    ],
    ["https://n8n.example/webhook/certwatch", ["Webhook is not registered? No: it is inactive"]],
    ["https://hook.example/", ["not found: /", "bad request"]],
    ["https://hook.example/a/b?v=2", ["expected 2 of 22 fields"]],
  ])("by the receiver at %s", (address, texts) => {
    const one = new EchoMask({ url: address, tokens: ["", "xy"] });
    for (const text of texts) {
      expect(one.mask(text)).toBe(text.replaceAll(/webhook/gi, "***"));
    }
  });

  test("a word in the path is recognised as a whole", () => {
    const one = new EchoMask({ url: "https://n8n.example/webhook/certwatch", tokens: [] });
    expect(one.mask("POST /webhook/certwatch")).toBe("POST /***/***");
    expect(one.mask("POST /webhoo/certwat")).toBe("POST /webhoo/certwat");
  });
});

test("a hostile answer costs little", () => {
  let nested = password;
  while (nested.length < 3_000) nested = base64(`${nested} ${nested}`);
  const startedMs = performance.now();
  for (const text of [nested, "%25", "\\u005c", "A", "&#38;", "0a\n", "%"])
    mask.mask(text.repeat(4_096).slice(0, 4_096));
  expect(performance.now() - startedMs).toBeLessThan(5_000);
});
