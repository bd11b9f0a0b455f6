import fc from "fast-check";

const label = fc.constantFrom(
  ...[
    "example",
    "EXAMPLE",
    "foo",
    "a",
    "b",
    "org",
    "org",
    "com",
    "co",
    "1",
    "0x7f",
    "_dmarc",
    "xn--bcher-kva",
  ],
  ...[
    "bücher",
    "BÜCHER",
    "ｅxample",
    "ß",
    "\u00ad",
    "\ud800",
    "*",
    "f*",
    "",
    "constructor",
    "__proto__",
    "b:1",
    "é b",
    "\u202eexample",
    "exam\ufeffple",
    "é".repeat(64),
  ],
);
const plainLabel = fc.constantFrom("example", "a", "org");
const dot = fc.constantFrom(".", ".", ".", ".", "\u3002", "\uff0e");
const prefix = fc.constantFrom(
  "",
  "",
  "",
  "",
  "*.",
  "*.",
  "*.*.",
  ".",
  " ",
  "\0",
  "http://",
  "HTTPS://*.",
  "http:// ",
  "ldap://",
  "x+y.z://u:p@",
  "admin@",
  "DNS:",
  '"',
  "a.example,",
  "*.a.org; ",
);
const suffix = fc.constantFrom(
  "",
  "",
  "",
  "",
  ".",
  "..",
  "\u3002",
  "/",
  "/x",
  "\0.com",
  " b",
  ".\u00a0",
  "\u0085x",
  ":443",
  "?q",
  "#f",
  "\\",
  '"',
  "'s",
  ",b.org",
  "\u3000;x",
);

/** Names of few distinct labels, so that they often cover each other; plain ones as well as every oddity of the rules. */
export const arbitraryName: fc.Arbitrary<string> = fc.oneof(
  fc.array(plainLabel, { minLength: 2, maxLength: 4 }).map((labels) => labels.join(".")),
  fc.array(plainLabel, { minLength: 1, maxLength: 3 }).map((labels) => `*.${labels.join(".")}`),
  fc
    .tuple(prefix, fc.array(fc.tuple(label, dot), { minLength: 1, maxLength: 4 }), suffix)
    .map(([before, labels, after]) => before + labels.flat().slice(0, -1).join("") + after),
);

/** Rows of a watch list: mostly usable. */
export const arbitraryEntries: fc.Arbitrary<string[]> = fc.array(arbitraryName, {
  minLength: 1,
  maxLength: 6,
});
