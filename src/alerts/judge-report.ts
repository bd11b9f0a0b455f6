import type { Logger } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import type { JudgedCertificate } from "./outbox.ts";

/** Says in the log and in the metrics what became of judged certificates. */
export function reportJudged(
  judged: JudgedCertificate[],
  { log, metrics }: { log: Logger; metrics: Metrics },
): void {
  for (const certificate of judged) {
    const alert = logFields(certificate);
    if (!certificate.isEvent) {
      metrics.alertsMerged.inc();
      log.debug({ alert }, "merged into the event of its issuance");
      continue;
    }
    metrics.alerts.inc({ severity: certificate.severity });
    if (certificate.severity === "suspicious")
      log.warn({ alert }, "SUSPICIOUS certificate for a watched name");
    else if (certificate.clears != null)
      log.info({ alert }, "all-clear: the inventory now has the certificate of an open incident");
    else log.info({ alert }, "known certificate for a watched name");
  }
}

function logFields(judged: JudgedCertificate) {
  return {
    id: judged.id,
    severity: judged.severity,
    type: judged.eventType,
    match_basis: judged.matchBasis,
    reason: judged.reason,
    matched_entries: judged.matchedEntries,
    matched_sans: judged.matchedSans,
    issuer: judged.issuer,
    ...(judged.clears != null && { clears: judged.clears }),
  };
}
