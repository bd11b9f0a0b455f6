import { createHash, randomBytes } from "node:crypto";
import { type Authority, createAuthority } from "../../src/demo/certificates.ts";
import type { CtLog, LogEntry } from "../../src/demo/log-entry.ts";
import { type CertstreamServer, wireMessage } from "../../src/demo/wire.ts";

/** Top-level domains as they are common among certificates: traffic and watch entries share them. */
export const topLevelDomains = [
  ...[
    "com",
    "com",
    "com",
    "com",
    "com",
    "com",
    "net",
    "org",
    "de",
    "co.uk",
    "io",
    "com.br",
    "nl",
    "fr",
    "app",
  ],
  ...[
    "dev",
    "ru",
    "com.au",
    "it",
    "pl",
    "in",
    "shop",
    "xyz",
    "info",
    "cloud",
    "eu",
    "ch",
    "jp",
    "ca",
    "site",
  ],
];

export const watchedPrefix = "watched";
/** Entries that matching messages are about. */
export const watchedDomains = Array.from({ length: 100 }, (_, i) => `${watchedPrefix}${i}.example.com`);

/** A watch list that no message is about: distinct domains, with the top-level domains of the traffic. */
export const usualWatchList = (count: number): string[] =>
  Array.from(
    { length: count },
    (_, i) => `${watchedPrefix}${i}.${topLevelDomains[i % topLevelDomains.length]}`,
  );

/** Every message begins like that; the index is written anew for each sending. */
export const indexDigits = 9;
export const firstIndex = 100_000_000;

/** The i-th message is of log `i % logCount`. */
export const logCount = 4;

const logs: CtLog[] = ["Argon2026h1", "Xenon2026h1", "Oak2026h2", "Nimbus2026"].map((name) => ({
  name: `Google '${name}' log`,
  url: `https://ct.example.net/logs/${name.toLowerCase()}`,
  type: "rfc6962",
}));

export interface CorpusOptions {
  count: number;
  server?: CertstreamServer;
  /** Names of one certificate; default: as they are in the wild, most have two. */
  namesPerCertificate?: number;
  /** Of so many messages the first is for a name below an entry of `watchedDomains`; 0: none. */
  matchEvery?: number;
  /** Length that the full messages come to, bytes. */
  messageBytes?: number;
}

/** Intermediates, as often as they issue: each with the length of its certificate, and of its root's, bytes of DER. */
const intermediates = [
  { share: 8, organization: "Let's Encrypt", commonName: "R11", derBytes: [1290, 1391] },
  { share: 8, organization: "Let's Encrypt", commonName: "E8", derBytes: [1115, 1391] },
  { share: 5, organization: "Google Trust Services", commonName: "WE1", derBytes: [670, 995] },
  { share: 3, organization: "Google Trust Services", commonName: "WR1", derBytes: [1295, 1382] },
  { share: 2, organization: "Sectigo Limited", commonName: "Sectigo DV R36", derBytes: [1560, 1430] },
  { share: 2, organization: "DigiCert Inc", commonName: "DigiCert G2 TLS", derBytes: [1222, 914] },
  { share: 2, organization: "Amazon", commonName: "Amazon RSA 2048 M02", derBytes: [1120, 1174] },
  { share: 1, organization: "GoDaddy.com, Inc.", commonName: "GoDaddy G2", derBytes: [1236, 969] },
  { share: 1, organization: "ZeroSSL", commonName: "ZeroSSL ECC DV", derBytes: [924, 1430] },
];

/**
 * Messages of the full feed as texts. The demo's certificates have short keys: DER of the chain is padded to what real
 * ones of the intermediate have, that of the leaf until the message is as long as real ones are, 9 kB.
 */
export function makeCorpus(options: CorpusOptions): string[] {
  const { count, server = "go", namesPerCertificate, matchEvery = 0, messageBytes = 9_000 } = options;
  const templates = Array.from({ length: Math.min(count, 256) }, (_, i) => makeTemplate(i));
  return Array.from({ length: count }, (_, i) => {
    const names = namesOf(namesPerCertificate ?? usualNameCount(i));
    const isWatched = matchEvery > 0 && i % matchEvery === 0;
    if (isWatched) names[0] = `www.${watchedDomains[i % watchedDomains.length]}`;
    const { entry, chainBytes } = templates[i % templates.length]!;
    const fields = { ...entry.issuance.fields, subject: { commonName: names[0]! }, dnsNames: names };
    const issuance = { ...entry.issuance, fields };
    const whole = {
      ...entry,
      issuance,
      log: logs[i % logs.length]!,
      index: firstIndex,
      kind: i % 2 === 0 ? ("PrecertLogEntry" as const) : ("X509LogEntry" as const),
    };
    const text = padded(wireMessage(whole, { server }), messageBytes, chainBytes);
    return isWatched ? withFingerprint(text, numberedFingerprint(i)) : text;
  });
}

/** Of the certificate of the i-th message, if it is for a watched name: 40 hex digits. */
export const numberedFingerprint = (i: number): string =>
  createHash("sha1").update(`certificate ${i}`).digest("hex");

/**
 * A certificate of its own for the cost of a text. Its DER would be that of the template, and would be believed: it goes
 * under another key, so that the message is as long as it was.
 */
function withFingerprint(text: string, fingerprint: string): string {
  const colons = fingerprint.toUpperCase().replace(/..(?!$)/g, "$&:");
  const leafAt = text.indexOf('"leaf_cert"');
  const leaf = text
    .slice(leafAt)
    .replace(/("(?:fingerprint|sha1)":")[0-9A-F:]+/g, `$1${colons}`)
    .replace('"as_der":', '"no_der":')
    .replace(/("serial_number":")[0-9A-F]+/, `$1${fingerprint.slice(0, 32).toUpperCase()}`);
  return text.slice(0, leafAt) + leaf;
}

interface Template {
  entry: LogEntry;
  /** Of the certificates of its chain, as DER. */
  chainBytes: readonly number[];
}

const authorities = intermediates.flatMap(({ share, derBytes, ...name }) => {
  const parent = createAuthority({ organization: name.organization, commonName: "Root X1" });
  const authority = createAuthority({ ...name, parent });
  return Array<{ authority: Authority; chainBytes: readonly number[] }>(share).fill({
    authority,
    chainBytes: derBytes,
  });
});

function makeTemplate(i: number): Template {
  const { authority, chainBytes } = authorities[(i * 7) % authorities.length]!;
  const issuance = authority.issue({ dnsNames: ["a.example"] });
  return { entry: { issuance, kind: "X509LogEntry", log: logs[0]!, index: firstIndex }, chainBytes };
}

/** Two names mostly, sometimes one, seldom many. */
function usualNameCount(i: number): number {
  return [2, 2, 1, 2, 3, 2, 1, 2, 5, 2, 2, 1, 2, 10, 2, 30][i % 16]!;
}

function namesOf(count: number): string[] {
  const domain = `${randomLabel()}.${topLevelDomains[Math.floor(Math.random() * topLevelDomains.length)]}`;
  const first = [domain, `${Math.random() < 0.4 ? "*" : "www"}.${domain}`];
  const more = Array.from({ length: Math.max(count - 2, 0) }, () => `${randomLabel()}.${domain}`);
  return [...first, ...more].slice(0, count);
}

function randomLabel(): string {
  const length = 4 + Math.floor(Math.random() * 14);
  return Array.from({ length }, () => Math.floor(Math.random() * 36).toString(36)).join("");
}

function padded(text: string, bytes: number, chainBytes: readonly number[]): string {
  if (bytes === 0) return text;
  const message = JSON.parse(text);
  const { leaf_cert: leaf, chain = [] } = message.data;
  for (const [i, certificate] of chain.entries()) {
    if (certificate.as_der === undefined) continue;
    const der = Buffer.alloc(chainBytes[i] ?? 0, 0x5a);
    certificate.as_der = Buffer.concat([Buffer.from(certificate.as_der, "base64"), der])
      .subarray(0, der.length)
      .toString("base64");
  }
  const missing = bytes - Buffer.byteLength(JSON.stringify(message));
  if (missing > 0 && leaf.as_der !== undefined) {
    const der = Buffer.from(leaf.as_der, "base64");
    leaf.as_der = Buffer.concat([der, randomBytes(Math.floor(missing / 4) * 3)]).toString("base64");
  }
  return JSON.stringify(message) + (text.endsWith("\n") ? "\n" : "");
}
