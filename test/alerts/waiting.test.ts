import { expect, test } from "vitest";
import { toCertificateRow } from "../../src/alerts/certificate-row.ts";
import { WaitingCertificates } from "../../src/alerts/waiting.ts";
import { weigh } from "../../src/issuance/evidence.ts";
import { final, theirs } from "../support/updates.ts";

const update = final(theirs.issue({ dnsNames: ["example.org"] }));
const match = { entries: ["example.org"], sans: ["example.org"], namesTruncated: 0 };
const row = toCertificateRow(update, weigh(update), match);
const numbered = (i: number) => ({ ...row, certificate_key: `der:${i}` });
/** The longest DER that is kept, in base64. */
const longestDer = Buffer.alloc(65_536).toString("base64");

test("a certificate waits with its DER", () => {
  const waiting = new WaitingCertificates();
  waiting.add(numbered(0));
  expect(waiting.nextBatch()[0]!.der).toBe(update.asDerBase64);
});

test("when the bytes run out the DER goes first: no alert is lost for it", () => {
  const waiting = new WaitingCertificates();
  // 10,000 of 87 kB do not fit into 256 MB, 10,000 without DER do.
  for (let i = 0; i < 10_000; i += 1) expect(waiting.add({ ...numbered(i), der: longestDer })).toBe(true);
  expect(waiting.size).toBe(10_000);
  const ders = [...waiting].map(({ row: { der } }) => der);
  expect(ders.filter((der) => der !== null).length).toBeLessThan(3_100);
  // What waits has the same names as before.
  expect([...waiting].every(({ row: { sans } }) => sans[0] === "example.org")).toBe(true);
});
