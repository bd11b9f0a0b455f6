/** Whether the bytes from `at` on are `expected`. */
export function hasBytesAt(message: Buffer, at: number, expected: Buffer): boolean {
  for (let offset = 0; offset < expected.length; offset++) {
    if (message[at + offset] !== expected[offset]) return false;
  }
  return true;
}

/** Whether the bytes directly before `end` are `expected`. False if fewer bytes than that stand before `end`. */
export function hasBytesBefore(message: Buffer, end: number, expected: Buffer): boolean {
  if (end < expected.length) return false;
  for (let back = 1; back <= expected.length; back++) {
    if (message[end - back] !== expected[expected.length - back]) return false;
  }
  return true;
}
