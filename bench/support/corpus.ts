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

/**
 * Messages of the full feed as texts. The demo's certificates have short keys: DER of leaf and chain is padded in the
 * proportions of RSA ones until the messages are as long as real ones, 9 kB.
 */
export function makeCorpus(options: CorpusOptions): string[] {
  const { count, server = "go", namesPerCertificate, matchEvery = 0, messageBytes = 9_000 } = options;
  const root = createAuthority({
    organization: "Internet Security Research Group",
    commonName: "ISRG Root X1",
  });
  const authority = createAuthority({ organization: "Let's Encrypt", commonName: "R11", parent: root });
  const template = Array.from({ length: Math.min(count, 256) }, () => makeEntry(authority, ["a.example"]));
  return Array.from({ length: count }, (_, i) => {
    const names = namesOf(namesPerCertificate ?? usualNameCount(i));
    const isWatched = matchEvery > 0 && i % matchEvery === 0;
    if (isWatched) names[0] = `www.${watchedDomains[i % watchedDomains.length]}`;
    const entry = template[i % template.length]!;
    const fields = { ...entry.issuance.fields, subject: { commonName: names[0]! }, dnsNames: names };
    const issuance = { ...entry.issuance, fields };
    const whole = {
      ...entry,
      issuance,
      log: logs[i % logs.length]!,
      index: firstIndex,
      kind: i % 2 === 0 ? ("PrecertLogEntry" as const) : ("X509LogEntry" as const),
    };
    const text = padded(wireMessage(whole, { server }), messageBytes);
    return isWatched ? withFingerprint(text, numberedFingerprint(i)) : text;
  });
}

/** Of the certificate of the i-th message, if it is for a watched name: 40 hex digits. */
export const numberedFingerprint = (i: number): string =>
  createHash("sha1").update(`certificate ${i}`).digest("hex");

/** A certificate of its own for the cost of a text; its DER remains that of the template. */
function withFingerprint(text: string, fingerprint: string): string {
  const colons = fingerprint.toUpperCase().replace(/..(?!$)/g, "$&:");
  const leafAt = text.indexOf('"leaf_cert"');
  const leaf = text
    .slice(leafAt)
    .replace(/("(?:fingerprint|sha1)":")[0-9A-F:]+/g, `$1${colons}`)
    .replace(/("serial_number":")[0-9A-F]+/, `$1${fingerprint.slice(0, 32).toUpperCase()}`);
  return text.slice(0, leafAt) + leaf;
}

function makeEntry(authority: Authority, dnsNames: string[]): LogEntry {
  return { issuance: authority.issue({ dnsNames }), kind: "X509LogEntry", log: logs[0]!, index: firstIndex };
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

function padded(text: string, bytes: number): string {
  const message = JSON.parse(text);
  const { leaf_cert: leaf, chain = [] } = message.data;
  const certificates = [leaf, ...chain].filter(({ as_der }) => as_der !== undefined);
  const missing = bytes - Buffer.byteLength(text);
  if (missing <= 0 || certificates.length === 0) return text;
  const each = Math.floor(missing / certificates.length / 4) * 3;
  for (const certificate of certificates) {
    const der = Buffer.from(certificate.as_der, "base64");
    certificate.as_der = Buffer.concat([der, randomBytes(each)]).toString("base64");
  }
  return JSON.stringify(message) + (text.endsWith("\n") ? "\n" : "");
}
