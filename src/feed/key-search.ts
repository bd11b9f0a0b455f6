const key = Buffer.from('"all_domains"');

/** Length of the key with its quotation marks, bytes. */
export const keyBytes = key.length;

const probeStep = key.length - 1;

/** By byte: a bit for each place in the key where it stands. */
const placesInKey = new Uint16Array(256);
for (const [place, byte] of key.entries()) placesInKey[byte]! |= 1 << place;

/**
 * Where the last `"all_domains"` begins that begins in `[lowest, from]`; -1 if there is none. It has to fit into the
 * message from `from` on.
 */
export function lastKey(message: Buffer, from: number, lowest: number): number {
  // Of any twelve neighbouring pairs of bytes one lies in the key, if that is there: one probe each twelve bytes, none
  // of which waits for the one before, finds it. Two bytes that follow each other in the key are rare elsewhere.
  for (let at = from + key.length - 2; at >= lowest; at -= probeStep) {
    const places = placesInKey[message[at] as number]! & (placesInKey[message[at + 1] as number]! >>> 1);
    if (places === 0) continue;
    const start = keyAround(message, at, places);
    if (start >= lowest && start <= from) return start;
  }
  return -1;
}

/** Where the key begins of which the byte at `at` has one of these places; -1 if that is none. */
function keyAround(message: Buffer, at: number, places: number): number {
  for (let rest = places; rest !== 0; rest &= rest - 1) {
    const start = at - (31 - Math.clz32(rest & -rest));
    if (start >= 0 && hasBytesAt(message, start, key)) return start;
  }
  return -1;
}

/** Whether `expected` begins at `at`. */
export function hasBytesAt(message: Buffer, at: number, expected: Buffer): boolean {
  for (let offset = 0; offset < expected.length; offset++) {
    if (message[at + offset] !== expected[offset]) return false;
  }
  return true;
}
