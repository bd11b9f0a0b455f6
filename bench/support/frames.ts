import { firstIndex, indexDigits, logCount, numberedFingerprint, watchedPrefix } from "./corpus.ts";

/** A corpus as the frames of a WebSocket, end to end, in which the numbers can be written anew. */
export interface Frames {
  bytes: Buffer;
  /** Where each frame ends. */
  ends: number[];
  /** Where the digits of `cert_index` begin; -1: nowhere. */
  indexAt: number[];
  /** The certificates for watched names, by the number of their message. */
  watched: Map<number, WatchedCertificate>;
}

interface WatchedCertificate {
  /** Lower-case hex. */
  fingerprint: string;
  /** Where its hexadecimal digits begin: with colons, twice, and the serial number. */
  fingerprintAt: number;
  sha1At: number;
  serialAt: number;
}

const serialDigits = 32;
const watchedName = Buffer.from(`"all_domains":["www.${watchedPrefix}`);

export function toFrames(texts: string[]): Frames {
  const ends: number[] = [];
  const indexAt: number[] = [];
  const watched: Frames["watched"] = new Map();
  const parts: Buffer[] = [];
  let end = 0;
  for (const [i, text] of texts.entries()) {
    const payload = Buffer.from(text);
    const header = frameHeader(payload.length);
    const start = end + header.length;
    const at = payload.indexOf(`"cert_index":${firstIndex}`);
    indexAt.push(at === -1 ? -1 : start + at + '"cert_index":'.length);
    if (payload.includes(watchedName)) watched.set(i, watchedCertificate(payload, start));
    parts.push(header, payload);
    end = start + payload.length;
    ends.push(end);
  }
  return { bytes: Buffer.concat(parts), ends, indexAt, watched };
}

function watchedCertificate(payload: Buffer, start: number): WatchedCertificate {
  const leafAt = payload.indexOf('"leaf_cert"');
  const valueAt = (key: string) => payload.indexOf(`"${key}":"`, leafAt) + key.length + 4;
  const fingerprint = payload.toString("latin1", valueAt("fingerprint")).slice(0, 59);
  return {
    fingerprint: fingerprint.replaceAll(":", "").toLowerCase(),
    fingerprintAt: start + valueAt("fingerprint"),
    sha1At: start + valueAt("sha1"),
    serialAt: start + valueAt("serial_number"),
  };
}

/** FIN, opcode text, not masked (RFC 6455 section 5.2). */
function frameHeader(length: number): Buffer {
  if (length < 126) return Buffer.from([0x81, length]);
  if (length < 65_536) return Buffer.from([0x81, 126, length >> 8, length & 0xff]);
  const header = Buffer.alloc(10);
  header[0] = 0x81;
  header[1] = 127;
  header.writeBigUInt64BE(BigInt(length), 2);
  return header;
}

/** Writes the indices from `next` on into the messages, in each of the logs, as they count. Returns the next one. */
export function writeIndexes(frames: Frames, next: number): number {
  for (const [i, at] of frames.indexAt.entries()) {
    if (at === -1) continue;
    let rest = next + Math.floor(i / logCount);
    for (let digit = at + indexDigits - 1; digit >= at; digit--) {
      frames.bytes[digit] = 0x30 + (rest % 10);
      rest = Math.floor(rest / 10);
    }
  }
  return next + Math.ceil(frames.indexAt.length / logCount);
}

/** Makes new certificates for watched names of all: the first message has number `first`, the others count on. */
export function writeCertificates(frames: Frames, first: number): void {
  for (const [i, certificate] of frames.watched) {
    const fingerprint = numberedFingerprint(first + i);
    const digits = fingerprint.toUpperCase();
    const withColons = digits.replace(/..(?!$)/g, "$&:");
    frames.bytes.write(withColons, certificate.fingerprintAt, "latin1");
    frames.bytes.write(withColons, certificate.sha1At, "latin1");
    frames.bytes.write(digits.slice(0, serialDigits), certificate.serialAt, "latin1");
    certificate.fingerprint = fingerprint;
  }
}
