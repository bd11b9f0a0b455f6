import type { PendingCertificate } from "../db/due-certificates.ts";
import type { Verdict } from "../db/judge-certificates.ts";
import type { MatchBasis } from "../issuance/inventory.ts";

/** The verdict on a certificate, from how it was found in the inventory, with the sentence that a person reads. */
export function verdictOf(certificate: PendingCertificate, basis: MatchBasis): Verdict {
  const { id } = certificate;
  if (basis === "none") {
    const reason =
      certificate.fingerprint === ""
        ? "The feed sent no fingerprint for this certificate, so it could not be found in the inventory."
        : "No certificate with this fingerprint is in the inventory.";
    return {
      id,
      severity: "suspicious",
      match_basis: basis,
      reason,
      reason_after_other: `Escalation: another certificate of this issuance was recognised, this one was not. ${reason}`,
    };
  }
  const reason = "A certificate with this fingerprint is in the inventory.";
  return {
    id,
    severity: "info",
    match_basis: basis,
    reason,
    reason_after_other: `All-clear: another certificate of this issuance was reported as suspicious, this one is recognised. ${reason}`,
  };
}
