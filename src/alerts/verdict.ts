import { precertificateUpdateType } from "../feed/message.ts";
import type { Recognition } from "../inventory/recognise.ts";
import type { PendingCertificate } from "../issuance/pending.ts";
import type { Verdict } from "./outbox.ts";
import type { Clearance } from "./sql/clear-incidents.ts";

/** The range of Date, seconds (ECMA-262, section 21.4.1.1). */
const maxDateSeconds = 8.64e12;

/** The verdict on a certificate, from what the inventory said of it, with the sentence that a person reads. */
export function verdictOf(
  certificate: PendingCertificate,
  recognition: Recognition,
  precertMatch: "serial" | "tbs",
): Verdict {
  const { basis, inventoryRow } = recognition;
  const isKnown = basis !== "none";
  const reason = isKnown
    ? knownReasons[basis](certificate)
    : `${expiredSentence(certificate)}${unknownReason(certificate, recognition, precertMatch)}`;
  return {
    id: certificate.id,
    issuance_id: certificate.issuanceId,
    row_bytes: certificate.rowBytes,
    severity: isKnown ? "info" : "suspicious",
    match_basis: basis,
    inventory_row: inventoryRow,
    follows_known: followsKnown(certificate, precertMatch),
    reason,
    row_tbs_sha256: recognition.rowTbsSha256,
    closable: [],
    reason_after_other: isKnown
      ? `All-clear: another certificate of this issuance was reported as suspicious, this one is recognised. ${reason}`
      : `Escalation: another certificate of this issuance was recognised, this one is not. ${reason}`,
  };
}

/** The all-clear of an open incident that is recognised by now; empty where it is not. */
export function clearanceOf(
  certificate: PendingCertificate,
  { basis, inventoryRow, rowTbsSha256 }: Recognition,
): Clearance[] {
  if (basis === "none") return [];
  return [
    {
      id: certificate.id,
      issuance_id: certificate.issuanceId,
      match_basis: basis,
      inventory_row: inventoryRow,
      row_tbs_sha256: rowTbsSha256,
      reason: `All-clear: this certificate was reported as suspicious, and is recognised by now. ${knownReasons[basis](certificate)}`,
    },
  ];
}

const knownReasons = {
  fingerprint: () => "This very certificate is in the inventory (same SHA-1 fingerprint).",
  tbs: (certificate: PendingCertificate) =>
    `The inventory has ${isPrecertificate(certificate) ? "the final certificate of this precertificate" : "this certificate with other SCTs"} (same TBSCertificate hash).`,
  serial: (certificate: PendingCertificate) =>
    `The inventory has a certificate with the serial number, validity and names of this precertificate; ${
      certificate.tbsSha256 === null
        ? "the feed sent no DER, so the rest was not compared."
        : "it has no TBS hash there, so the rest was not compared."
    }`,
};

/** A server that replays old log entries brings certificates that are of no use any more. */
function expiredSentence({ notAfter, seenAt }: PendingCertificate): string {
  if (notAfter === null || notAfter >= seenAt || notAfter < -maxDateSeconds) return "";
  return `Expired on ${new Date(notAfter * 1000).toISOString().slice(0, 10)}, before it was seen. `;
}

function unknownReason(
  certificate: PendingCertificate,
  recognition: Recognition,
  precertMatch: "serial" | "tbs",
): string {
  if (recognition.nearMiss === "other contents") {
    return "The inventory has a certificate with this serial number, validity and names, but with other contents (another TBSCertificate hash): compare the two.";
  }
  if (recognition.nearMiss === "unreadable") {
    return "The DER of this certificate is written in a way that certwatch cannot compare (it has no TBSCertificate hash), and its SHA-1 fingerprint is not in the inventory.";
  }
  if (recognition.nearMiss === "no certificate") {
    return "The feed sent bytes as DER that are no certificate, so nothing that it says of this certificate can be relied on.";
  }
  if (recognition.nearMiss === "already used") {
    return "The inventory has a certificate with this serial number, validity and names, but another issuance was recognised by it before: one of the two is not yours.";
  }
  if (!isPrecertificate(certificate)) {
    return certificate.fingerprint === "" && certificate.tbsSha256 === null
      ? "The feed sent neither fingerprint nor DER of this certificate, so it cannot be found in the inventory."
      : "This certificate is not in the inventory.";
  }
  if (precertMatch === "tbs" && certificate.tbsSha256 === null) {
    return "The feed sent no DER of this precertificate, so it cannot be recognised by its TBS hash, and PRECERT_MATCH=tbs allows nothing else.";
  }
  return "The inventory has no certificate that belongs to this precertificate.";
}

function isPrecertificate({ updateType }: PendingCertificate): boolean {
  return updateType === precertificateUpdateType;
}

/**
 * certstream-server-go sends precertificates of static-ct logs without DER and fingerprint. Where a certificate with
 * DER of the same issuance is known, such a precertificate can only be called its precertificate or a copy, and the
 * public fields do not tell which. PRECERT_MATCH=serial trusts them, `tbs` does not.
 */
function followsKnown(certificate: PendingCertificate, precertMatch: "serial" | "tbs"): boolean {
  return (
    precertMatch === "serial" &&
    certificate.derState === null &&
    certificate.fingerprint === "" &&
    isPrecertificate(certificate)
  );
}
