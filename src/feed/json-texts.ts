const quote = 0x22;
const backslash = 0x5c;
const openBrace = 0x7b;
const closeBrace = 0x7d;

/**
 * Takes a frame apart that is not one JSON text: servers and proxies may put several messages into one frame, with or
 * without white space between. Yields views of the frame, in their order: each object, and what stands between or
 * behind the objects. White space alone is left out. The time is linear in the length of the frame.
 */
export function* jsonTexts(frame: Buffer): Generator<Buffer> {
  let start = skipSpace(frame, 0);
  while (start < frame.length) {
    const end = frame[start] === openBrace ? endOfObject(frame, start) : nextObject(frame, start);
    yield frame.subarray(start, end);
    start = skipSpace(frame, end);
  }
}

/** White space as JSON has it (RFC 8259 section 2), and the record separator of RFC 7464. */
function skipSpace(frame: Buffer, start: number): number {
  let at = start;
  while (at < frame.length && isSpace(frame[at]!)) at++;
  return at;
}

const isSpace = (byte: number): boolean =>
  byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09 || byte === 0x1e;

/** Returns where the next object begins, or the end of the frame. */
function nextObject(frame: Buffer, start: number): number {
  const found = frame.indexOf(openBrace, start);
  return found === -1 ? frame.length : found;
}

/** Returns the end of the object that begins at `start`; the end of the frame if the object does not end before. */
function endOfObject(frame: Buffer, start: number): number {
  let depth = 0;
  for (let at = start; at < frame.length; at++) {
    const byte = frame[at];
    if (byte === openBrace) depth++;
    else if (byte === closeBrace) {
      depth--;
      if (depth === 0) return at + 1;
    } else if (byte === quote) {
      for (at++; at < frame.length && frame[at] !== quote; at++) if (frame[at] === backslash) at++;
    }
  }
  return frame.length;
}
