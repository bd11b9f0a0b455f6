import { hasBytesAt, hasBytesBefore } from "./bytes.ts";
import { type CtLogs, unreadable } from "./ct-logs.ts";
import { toEpochSeconds } from "./message.ts";
import { SourceTable } from "./source-table.ts";

const newline = 0x0a;
const quote = 0x22;
const commaByte = 0x2c;
const pointByte = 0x2e;
const zero = 0x30;
const nine = 0x39;
const colon = 0x3a;
const upperX = 0x58;
const lowerR = 0x72;
const closeBrace = 0x7d;

const indexFirst = Buffer.from('{"data":{"cert_index":');
const typeFirst = Buffer.from('{"message_type":"certificate_update","data":{');
const certIndex = Buffer.from(',"cert_index":');
const sourceLast = Buffer.from('"}}}');
const timestampBytes = Buffer.from(',"timestamp":');
const submissionTimestamp = Buffer.from(',"submission_timestamp":');

// Lengths of the fixed texts between the parts that vary from message to message.
const afterUpdateType = '"},"message_type":"certificate_update"}'.length;
const afterSource = '},"update_type":"'.length;
const beforeLogType = ',"type":"'.length;

/** No message with a certificate is shorter. Every text that `read` expects at a fixed place fits into this length. */
const minMessageBytes = 128;

/** The greatest distance from `cert_index` to the source behind it, bytes. */
const maxBytesToIndex = 4096;

/** The longest timestamp that is read, bytes. */
const maxNumberBytes = 24;

/**
 * Reads from the bytes of a `certificate_update` message, without parsing, which entry of which log the message is
 * about. It knows these shapes, in exactly this order and without white space (T is text, N a number, `...` anything):
 *
 *     {"data":{"cert_index":N,...,"source":{"name":T,"url":T,"timestamp":N,"type":T},"update_type":T},"message_type":T}
 *     {"data":{"cert_index":N,...,"source":{"name":T,"url":T},"update_type":T},"message_type":T}
 *     {"message_type":T,"data":{...,"cert_index":N,...,"submission_timestamp":N,"source":{"name":T,"url":T}}}
 *     {"message_type":T,"data":{...,"cert_index":N,...,"source":{"url":T,"name":T}}}
 *
 * They are written by certstream-server-go, by servers that sort their keys, by certstream-server-rust (older versions
 * without `submission_timestamp`) and by CaliDog, in this order.
 *
 * If the reader returns a log, a JSON parser would find the same log and index. Text inside a certificate cannot change
 * the result: no text of a certificate stands behind the source, or before an index that comes first, and a quotation
 * mark after a comma always begins a key, because servers escape quotation marks inside texts. There is no defence
 * against a server that writes a key twice on purpose: such a server could also send wrong numbers.
 *
 * The fields hold the result until the next call, so that nothing has to be allocated.
 */
export class OriginReader {
  /** The index of the entry in its log: a safe integer, not negative. */
  index = 0;
  /**
   * Whether the server leaves out certificates that it already sent for another log. Then an index that never comes
   * means nothing. certstream-server-rust always does this (`src/dedup.rs`). We recognise that server by
   * `submission_timestamp`; older versions, without this key, by `message_type` first and the log's name before its
   * URL.
   */
  isDeduplicated = false;

  readonly #sources: SourceTable;
  /** The end of the log's timestamp in the message that was read last; 0 if that message has none. */
  #timestampEnd = 0;

  constructor(logs: CtLogs) {
    this.#sources = new SourceTable(logs);
  }

  /**
   * Returns the number of the log, as `CtLogs` gives it; `noLog` if the log has no number, and `unreadable` if the
   * message has another shape. Never throws. The caller must know that the message is a `certificate_update`: `read`
   * does not compare every byte of the type.
   */
  read(message: Buffer): number {
    if (message.length < minMessageBytes) return unreadable;
    const end = message[message.length - 1] === newline ? message.length - 1 : message.length;
    if (hasBytesAt(message, 0, indexFirst)) return this.#readIndexFirst(message, end);
    return hasBytesAt(message, 0, typeFirst) ? this.#readTypeFirst(message, end) : unreadable;
  }

  /**
   * Returns the time at which the log says it accepted the entry, epoch seconds; `null` if the server does not send it.
   * Call this only for the message that was read last, and only if `read` found its log. It costs more than `read`, so
   * call it only for a sample of the messages.
   */
  timestampEpochSeconds(message: Buffer): number | null {
    const end = this.#timestampEnd;
    // If the key behind the number is shorter than `type`, `end` lies inside the number: do not read a part of it.
    if (message[end] !== commaByte) return null;
    const start = numberStart(message, end);
    if (start === end) return null;
    const hasKey =
      hasBytesBefore(message, start, timestampBytes) || hasBytesBefore(message, start, submissionTimestamp);
    return hasKey ? toEpochSeconds(Number(message.toString("latin1", start, end))) : null;
  }

  #readIndexFirst(message: Buffer, end: number): number {
    if (!this.#readIndex(message, indexFirst.length)) return unreadable;
    const sourceEnd = this.#sourceEnd(message, end);
    if (sourceEnd === -1) return unreadable;
    this.isDeduplicated = false;
    const source = this.#sources.endingAt(message, sourceEnd);
    return source === null ? unreadable : source.log;
  }

  #readTypeFirst(message: Buffer, end: number): number {
    if (!hasBytesBefore(message, end, sourceLast)) return unreadable;
    const sourceEnd = end - sourceLast.length + 1;
    const source = this.#sources.endingAt(message, sourceEnd);
    if (source === null) return unreadable;
    const sourceStart = sourceEnd - source.length;
    const index = message.lastIndexOf(certIndex, sourceStart);
    if (index === -1 || sourceStart - index > maxBytesToIndex) return unreadable;
    if (!this.#readIndex(message, index + certIndex.length)) return unreadable;
    const hasSubmission = hasBytesBefore(message, numberStart(message, sourceStart), submissionTimestamp);
    this.#timestampEnd = hasSubmission ? sourceStart : 0;
    this.isDeduplicated = hasSubmission || !source.hasUrlFirst;
    return source.log;
  }

  /** Reads the digits at `at` into `index`. Returns false if no safe integer with a comma behind it stands there. */
  #readIndex(message: Buffer, at: number): boolean {
    let value = 0;
    let cursor = at;
    for (; ; cursor++) {
      const byte = message[cursor] as number;
      if (!(byte >= zero && byte <= nine)) break;
      value = value * 10 + (byte - zero);
    }
    if (cursor === at || message[cursor] !== commaByte || value > Number.MAX_SAFE_INTEGER) return false;
    this.index = value;
    return true;
  }

  /**
   * Steps back over the text behind the source in a message whose type comes last. Returns where the source's name and
   * URL end; -1 if the text is not as expected. Comparing a few bytes is enough: the server wrote this text, not the
   * owner of a certificate, and `endingAt` finds a source only if it ends exactly at the returned place.
   */
  #sourceEnd(message: Buffer, end: number): number {
    const updateTypeEnd = end - afterUpdateType;
    let updateType = updateTypeEnd - "X509LogEntry".length;
    if (message[updateType] !== upperX) updateType = updateTypeEnd - "PrecertLogEntry".length;
    if (message[updateType - 1] !== quote || message[updateTypeEnd + 1] !== closeBrace) return -1;
    const brace = updateType - afterSource;
    if (message[brace] !== closeBrace || message[brace - 1] !== quote) return -1;
    this.#timestampEnd = 0;
    let logType = brace - 1 - "rfc6962".length;
    if (message[logType] !== lowerR) logType = brace - 1 - "tiled".length;
    if (message[logType - 1] !== quote || message[logType - 2] !== colon) return brace;
    const timestampEnd = logType - beforeLogType;
    this.#timestampEnd = timestampEnd;
    return numberStart(message, timestampEnd) - timestampBytes.length;
  }
}

/** Returns where a decimal number begins. `end` is the place behind the number's last digit. */
function numberStart(message: Buffer, end: number): number {
  // The usual case, 1761918776.523: ten digits, a point, three digits.
  if (message[end - 15] === colon) return end - 14;
  let start = end;
  while (end - start < maxNumberBytes && isDigitOrPoint(message[start - 1] as number)) start--;
  return start;
}

const isDigitOrPoint = (byte: number) => (byte >= zero && byte <= nine) || byte === pointByte;
