/** The fields of one `certificate_update` message that certwatch uses. Absent or unusable fields are `null`. */
export interface CertUpdate {
  /** `X509LogEntry` or `PrecertLogEntry`, as sent. */
  updateType: string | null;
  /** Index of the entry in its log. */
  certIndex: number | null;
  certLink: string | null;
  /** The time at which the server says it saw the entry, epoch seconds. */
  seenEpochSeconds: number | null;
  sourceName: string | null;
  sourceUrl: string | null;
  /** The time at which the log says it accepted the entry, epoch seconds. */
  sourceTimestampEpochSeconds: number | null;
  /** SHA-1 of the DER, 40 lower-case hex digits; `null` if the server sent none, or sent the hash of zero bytes. */
  fingerprintSha1: string | null;
  /** The names as received, in their order. Items that are not strings are left out. */
  allDomains: string[];
  /** The subject's CN. Servers append this name to `allDomains` if it is not among them. */
  subjectCn: string | null;
  issuerCn: string | null;
  issuerO: string | null;
  /** The issuer as one line, e.g. `/C=US/CN=R11/O=Let's Encrypt`. */
  issuerAggregated: string | null;
  /** Hex, in the notation that the server uses. */
  serial: string | null;
  notBeforeEpochSeconds: number | null;
  notAfterEpochSeconds: number | null;
  /** The certificate itself: base64 of its DER. Only full feeds have it. */
  asDerBase64: string | null;
  /**
   * The whole leaf as JSON if the message has neither serial nor fingerprint to identify the certificate; otherwise
   * `null`. Also `null` if the leaf is nested too deeply to be written.
   */
  leafJson: string | null;
}

/** The `update_type` of precertificates. Every other value means a final certificate. */
export const precertificateUpdateType = "PrecertLogEntry";

/** One message of a feed, after parsing. */
export type FeedMessage =
  | { type: "certificate_update"; update: CertUpdate }
  | { type: "heartbeat" | "dns_entries" | "other" }
  | {
      type: "refused";
      reason: "too_large" | "not_json" | "not_an_object" | "no_certificate";
      detail: string;
    };

/** The longest text accepted as a serial number. RFC 5280 section 4.1.2.2 allows 20 octets, but some are longer. */
const maxSerialLength = 1_000;

type JsonObject = Record<string, unknown>;

/** SHA-1 of zero bytes: certstream-server-go sends this value for precertificates of static-ct logs. */
const sha1OfNothing = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

/** Years 1 to 9999, the range of GeneralizedTime (RFC 5280 section 4.1.2.5.2). */
const minEpochSeconds = -62_135_596_800;
const maxEpochSeconds = 253_402_300_799;

/**
 * A message with more JSON values than this is refused before it is parsed: parsing 16 MB of `[` takes half a gigabyte
 * of memory. A certificate of 1 MB, more than logs accept, has at most 300,000 names.
 */
const maxValues = 1_000_000;

const [quote, backslash, comma, openBracket, openBrace] = [0x22, 0x5c, 0x2c, 0x5b, 0x7b];

/**
 * Parses one message of any certstream server. A field that cannot be used becomes `null` and never hides the other
 * fields. Never throws.
 */
export function parseMessage(bytes: Buffer): FeedMessage {
  if (bytes.length > maxValues && countValues(bytes) > maxValues) {
    return { type: "refused", reason: "too_large", detail: excerpt(bytes) };
  }
  let message: unknown;
  try {
    message = JSON.parse(bytes.toString("utf8"));
  } catch {
    return { type: "refused", reason: "not_json", detail: excerpt(bytes) };
  }
  if (!isObject(message)) return { type: "refused", reason: "not_an_object", detail: excerpt(bytes) };
  const type = message.message_type;
  if (type === "heartbeat" || type === "dns_entries") return { type };
  if (type !== "certificate_update") return { type: "other" };
  const data = message.data;
  if (!isObject(data) || !isObject(data.leaf_cert)) {
    return { type: "refused", reason: "no_certificate", detail: excerpt(bytes) };
  }
  return { type, update: toCertUpdate(data, data.leaf_cert) };
}

/** Returns at least the number of values that `JSON.parse` would create. Commas and brackets in texts do not count. */
function countValues(bytes: Buffer): number {
  let count = 1;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === comma || byte === openBracket || byte === openBrace) count++;
    if (byte !== quote) continue;
    for (at++; at < bytes.length && bytes[at] !== quote; at++) if (bytes[at] === backslash) at++;
  }
  return count;
}

function toCertUpdate(data: JsonObject, leaf: JsonObject): CertUpdate {
  const source = isObject(data.source) ? data.source : {};
  const issuer = issuerOf(data, leaf);
  const fingerprintSha1 = toFingerprint(leaf.fingerprint) ?? toFingerprint(leaf.sha1);
  const serial = toSerial(leaf.serial_number);
  return {
    updateType: nonEmpty(data.update_type),
    certIndex: Number.isSafeInteger(data.cert_index) ? (data.cert_index as number) : null,
    certLink: nonEmpty(data.cert_link),
    seenEpochSeconds: toEpochSeconds(data.seen),
    sourceName: nonEmpty(source.name),
    sourceUrl: nonEmpty(source.url),
    sourceTimestampEpochSeconds: toEpochSeconds(source.timestamp ?? data.submission_timestamp),
    fingerprintSha1,
    allDomains: namesOf(leaf),
    subjectCn: isObject(leaf.subject) ? nonEmpty(leaf.subject.CN) : null,
    issuerCn: nonEmpty(issuer.CN),
    issuerO: nonEmpty(issuer.O),
    issuerAggregated: nonEmpty(issuer.aggregated),
    serial,
    notBeforeEpochSeconds: truncated(toEpochSeconds(leaf.not_before)),
    notAfterEpochSeconds: truncated(toEpochSeconds(leaf.not_after)),
    asDerBase64: nonEmpty(leaf.as_der),
    leafJson: serial === null && fingerprintSha1 === null ? jsonOf(leaf) : null,
  };
}

/** Older CaliDog servers send no `leaf_cert.issuer`; then the subject of the chain's first certificate is used. */
function issuerOf(data: JsonObject, leaf: JsonObject): JsonObject {
  if (isObject(leaf.issuer)) return leaf.issuer;
  const parent = Array.isArray(data.chain) ? data.chain[0] : undefined;
  return isObject(parent) && isObject(parent.subject) ? parent.subject : {};
}

/** Returns `all_domains`; if the server leaves this field out, the DNS names of the SAN extension and the CN. */
function namesOf(leaf: JsonObject): string[] {
  if (Array.isArray(leaf.all_domains)) return leaf.all_domains.filter((name) => typeof name === "string");
  const alternative = isObject(leaf.extensions) ? leaf.extensions.subjectAltName : undefined;
  const names =
    typeof alternative === "string" ? [...alternative.matchAll(/DNS:([^,\s]+)/g)].map((m) => m[1]!) : [];
  const commonName = isObject(leaf.subject) ? nonEmpty(leaf.subject.CN) : null;
  return commonName === null || names.includes(commonName) ? names : [...names, commonName];
}

/** Returns the serial number, hex in any notation; `null` if it identifies no certificate (zero, or absurdly long). */
export function toSerial(value: unknown): string | null {
  const serial = nonEmpty(value);
  return serial !== null && serial.length <= maxSerialLength && /[1-9A-Fa-f]/.test(serial) ? serial : null;
}

function toFingerprint(value: unknown): string | null {
  if (typeof value !== "string") return null;
  const hex = value.replaceAll(":", "").toLowerCase();
  return /^[0-9a-f]{40}$/.test(hex) && hex !== sha1OfNothing ? hex : null;
}

/** Returns the value if it is a time, in epoch seconds, between the years 1 and 9999; otherwise `null`. */
export function toEpochSeconds(value: unknown): number | null {
  return typeof value === "number" && value >= minEpochSeconds && value <= maxEpochSeconds ? value : null;
}

function truncated(epochSeconds: number | null): number | null {
  return epochSeconds === null ? null : Math.trunc(epochSeconds);
}

/** Returns `null` for a leaf nested too deeply: `JSON.parse` reads any depth, `JSON.stringify` overflows the stack. */
function jsonOf(leaf: JsonObject): string | null {
  try {
    return JSON.stringify(leaf);
  } catch {
    return null;
  }
}

function nonEmpty(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function excerpt(bytes: Buffer): string {
  return bytes.toString("latin1", 0, 80);
}
