import { describe, expect, test } from "vitest";
import { verdictOf } from "../../src/alerts/verdict.ts";
import type { Recognition } from "../../src/inventory/recognise.ts";
import type { PendingCertificate } from "../../src/issuance/pending.ts";

const certificate: PendingCertificate = {
  id: 7,
  issuanceId: "ab".repeat(32),
  fingerprint: "cd".repeat(20),
  tbsSha256: "ef".repeat(32),
  sans: ["example.org"],
  derState: null,
  rowBytes: 1_300,
  dnsNames: null,
  subjectCn: null,
  isCnWatched: false,
  serial: "01",
  serialKey: null,
  notBefore: 1,
  notAfter: 2,
  updateType: "PrecertLogEntry",
  seenAt: 1,
};
const final = { ...certificate, updateType: "X509LogEntry" };
const found = (basis: Recognition["basis"]): Recognition => ({
  basis,
  inventoryRow: "row",
  nearMiss: null,
  rowTbsSha256: null,
});
const notFound = (nearMiss: Recognition["nearMiss"] = null): Recognition => ({
  basis: "none",
  inventoryRow: null,
  nearMiss,
  rowTbsSha256: null,
});
const reason = (
  of: PendingCertificate,
  recognition: Recognition,
  precertMatch: "serial" | "tbs" = "serial",
) => verdictOf(of, recognition, precertMatch).reason;

test("what is found is info, what is not is suspicious", () => {
  for (const basis of ["fingerprint", "tbs", "serial"] as const) {
    expect(verdictOf(certificate, found(basis), "serial")).toMatchObject({
      id: 7,
      severity: "info",
      match_basis: basis,
      inventory_row: "row",
      reason_after_other: expect.stringMatching(/^All-clear: /),
    });
  }
  expect(verdictOf(certificate, notFound(), "serial")).toMatchObject({
    severity: "suspicious",
    match_basis: "none",
    inventory_row: null,
    reason_after_other: expect.stringMatching(/^Escalation: /),
  });
});

describe("the reason", () => {
  const noDer = { ...certificate, tbsSha256: null };
  const cases: [string, string, string][] = [
    ["this certificate", reason(final, found("fingerprint")), "very certificate"],
    [
      "its final certificate",
      reason(certificate, found("tbs")),
      "the final certificate of this precertificate",
    ],
    ["other SCTs", reason(final, found("tbs")), "with other SCTs"],
    ["not compared for want of DER", reason(noDer, found("serial")), "the feed sent no DER"],
    ["not compared for want of a hash", reason(certificate, found("serial")), "it has no TBS hash there"],
    ["not there", reason(final, notFound()), "This certificate is not in the inventory."],
    ["no final there", reason(certificate, notFound()), "no certificate that belongs to this precertificate"],
    ["other contents", reason(certificate, notFound("other contents")), "with other contents"],
    [
      "DER without TBS hash",
      reason(certificate, notFound("unreadable")),
      "in a way that certwatch cannot compare",
    ],
    [
      "no certificate as DER",
      reason(certificate, notFound("no certificate")),
      "bytes as DER that are no certificate",
    ],
    ["an excuse that is taken", reason(certificate, notFound("already used")), "one of the two is not yours"],
    [
      "nothing to look for",
      reason({ ...final, fingerprint: "", tbsSha256: null }, notFound()),
      "neither fingerprint nor DER",
    ],
    ["tbs only, without DER", reason(noDer, notFound(), "tbs"), "PRECERT_MATCH=tbs allows nothing else"],
  ];
  test.each(cases)("says: %s", (_, sentence, part) => {
    expect(sentence).toContain(part);
    expect(sentence).toMatch(/^[A-Z].*\.$/);
  });

  test("says first that the certificate had expired when it was seen", () => {
    const at = (seenAt: number) => reason({ ...certificate, notAfter: 86_399, seenAt }, notFound());
    expect(at(86_400)).toMatch(
      /^Expired on 1970-01-01, before it was seen\. The inventory has no certificate/,
    );
    expect(at(86_399)).not.toContain("Expired");
    expect(reason({ ...certificate, notAfter: 1, seenAt: 2 }, found("tbs"))).not.toContain("Expired");
    expect(reason({ ...certificate, notAfter: -1e300, seenAt: 2 }, notFound())).not.toContain("Expired");
  });

  test("is another in each case", () => {
    expect(new Set(cases.map(([, sentence]) => sentence)).size).toBe(cases.length);
  });
});
