/**
 * Returns a serial number in its normal form: upper-case hex digits without leading zeros, colons, white space or
 * prefix; `null` if no digit is left. The index on `certs.serial` in schema.sql uses the same form.
 */
export function normalizeSerial(serial: string | null): string | null {
  const digits = serial
    ?.replaceAll(/[^0-9A-Fa-f]/g, "")
    .toUpperCase()
    .replace(/^0+/, "");
  return digits === undefined || digits === "" ? null : digits;
}
