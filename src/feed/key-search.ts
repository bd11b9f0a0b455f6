const key = Buffer.from('"all_domains"');

/** Length of the key with its quotation marks, bytes. */
export const keyBytes = key.length;

const probeStep = key.length - 1;

/** For each value of a byte: one bit for each place in the key where that byte stands. */
const placesInKey = new Uint16Array(256);
for (const [place, byte] of key.entries()) placesInKey[byte]! |= 1 << place;

/**
 * Returns the beginning of the last `"all_domains"` that begins in `[lowest, from]`; -1 if there is none. The caller
 * makes sure that at least `keyBytes` bytes of the message follow `from`.
 */
export function lastKey(message: Buffer, from: number, lowest: number): number {
  // The key has 13 bytes, so 12 pairs of neighbouring bytes: probing one pair every 12 bytes must hit a key. No probe
  // waits for the probe before. Outside the key, pairs of bytes that stand in the key are rare.
  for (let at = from + key.length - 2; at >= lowest; at -= probeStep) {
    const places = placesInKey[message[at] as number]! & (placesInKey[message[at + 1] as number]! >>> 1);
    if (places === 0) continue;
    const start = keyAround(message, at, places);
    if (start >= lowest && start <= from) return start;
  }
  return -1;
}

/** Returns the beginning of the key in which the byte at `at` stands at one of `places`; -1 if there is no such key. */
function keyAround(message: Buffer, at: number, places: number): number {
  for (let rest = places; rest !== 0; rest &= rest - 1) {
    const start = at - (31 - Math.clz32(rest & -rest));
    if (start >= 0 && hasBytesAt(message, start, key)) return start;
  }
  return -1;
}

/** Whether the bytes from `at` on are `expected`. */
export function hasBytesAt(message: Buffer, at: number, expected: Buffer): boolean {
  for (let offset = 0; offset < expected.length; offset++) {
    if (message[at + offset] !== expected[offset]) return false;
  }
  return true;
}
