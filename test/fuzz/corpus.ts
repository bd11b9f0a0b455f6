/** A message that a way of reading it once got wrong, or nearly did. Kept for good; the fuzzers add to it. */
export interface Case {
  why: string;
  entries: string[];
  message: string | Uint8Array;
}

const lite = (leaf: string, rest = "") =>
  `{"data":{"cert_index":1,"leaf_cert":{${leaf}}${rest}},"message_type":"certificate_update"}\n`;

export const corpus: Case[] = [
  {
    why: "the last of two arrays counts",
    entries: ["example.org"],
    message: lite('"is_ca":false,"all_domains":["a.net"],"all_domains":["example.org"]'),
  },
  {
    why: "a key that ends like another, after a quotation mark in a text",
    entries: ["example.org"],
    message: lite('"x\\"all_domains":["a.net"],"all_domains":["*.example.org"]'),
  },
  {
    why: "an escaped dot in a name",
    entries: ["example.org"],
    message: lite('"all_domains":["a.net","example\\u002eorg"]'),
  },
  {
    why: "a wildcard one level above the entry",
    entries: ["a.example.org"],
    message: lite('"all_domains":["*.EXAMPLE.org"]'),
  },
  {
    why: "a name that is a scheme, a wildcard and a path",
    entries: ["example.org"],
    message: lite('"all_domains":["HTTPS://*.example.org/x"]'),
  },
  {
    why: "a full stop of another script",
    entries: ["example.org"],
    message: lite('"all_domains":["www\u3002example\uff0eorg"]'),
  },
  {
    why: "a byte that is no UTF-8 beside a covered name",
    entries: ["example.org"],
    message: Buffer.from(lite('"all_domains":["\xff.net","example.org"]'), "latin1"),
  },
  {
    why: "a names array within a text of the certificate",
    entries: ["example.org"],
    message: lite(
      '"subject":{"CN":"\\",\\"all_domains\\":[\\"a.net\\"],\\""},"all_domains":["example.org","\\u0000"]',
    ),
  },
  {
    why: "two messages in one frame, the first covered",
    entries: ["example.org"],
    message: lite('"all_domains":["example.org"]') + lite('"all_domains":["a.net"]'),
  },
  {
    why: "two messages in one frame, the second covered",
    entries: ["example.org"],
    message: lite('"all_domains":["a.net"]').trimEnd() + lite('"all_domains":["example.org"]'),
  },
  {
    why: "a message with something behind it",
    entries: ["example.org"],
    message: `${lite('"all_domains":["example.org"]')}{}`,
  },
  {
    why: "two arrays of a leaf that begins with one",
    entries: ["example.org"],
    message: lite('"all_domains":["a.net"],"all_domains":["example.org"]'),
  },
  {
    why: "two leaves",
    entries: ["example.org"],
    message: lite('"all_domains":["a.net"]', ',"leaf_cert":{"all_domains":["example.org"]}'),
  },
  {
    why: "a leaf without names, with names in its extension, behind a chain with names",
    entries: ["example.org"],
    message: lite(
      '"extensions":{"subjectAltName":"DNS:example.org"}',
      ',"chain":[{"all_domains":["a.net"]}]',
    ),
  },
  {
    why: "a leaf without names, whose extensions have some",
    entries: ["example.org"],
    message: lite('"extensions":{"all_domains":["a.net"],"subjectAltName":"DNS:example.org"}'),
  },
  {
    why: "a leaf whose names stand under another key of that length, with names in its extension",
    entries: ["example.org"],
    message: lite('"alm_domains":["a.net"],"extensions":{"subjectAltName":"DNS:example.org"}'),
  },
  {
    why: "a key that ends like that of the names, behind an escaped quotation mark, with names in the extension",
    entries: ["example.org"],
    message: lite('"is_ca":false,"\\"all_domains":[],"extensions":{"subjectAltName":"DNS:example.org"}'),
  },
  {
    why: "members named like those of every object",
    entries: ["constructor.__proto__"],
    message: lite('"__proto__":{"all_domains":[]},"constructor":1,"all_domains":["constructor.__proto__"]'),
  },
];
