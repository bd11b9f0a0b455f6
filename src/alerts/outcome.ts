import type { SendResult } from "./answer.ts";
import type { Delivery, Outcome } from "./outbox.ts";

/** An event is given up when the receiver has said nothing but "later" to it for this long. */
const maxPostponedSeconds = 86_400;

/** Decides what becomes of an event after an attempt: delivered, due again after a wait, or given up. */
export function outcomeOf(
  {
    id,
    issuanceId,
    lease,
    attempts,
    postponedSeconds,
  }: Pick<Delivery, "id" | "issuanceId" | "lease" | "attempts" | "postponedSeconds">,
  result: SendResult,
  maxAttempts: number,
): Outcome {
  const claim = { id, issuance_id: issuanceId, lease, postponed: result.kind === "later" };
  if (result.kind === "delivered") {
    return { ...claim, delivered: true, error: null, retry_after_seconds: null };
  }
  const failure = { ...claim, delivered: false, error: result.error };
  if (result.kind === "later") {
    // Due at once, behind the others: `Patience` keeps the wait, for all events.
    const isLast = (postponedSeconds ?? 0) >= maxPostponedSeconds;
    return { ...failure, retry_after_seconds: isLast ? null : 0 };
  }
  const failedAttempts = attempts + 1;
  const isLast = failedAttempts >= maxAttempts;
  return { ...failure, retry_after_seconds: isLast ? null : backoffSeconds(failedAttempts) };
}

/** The wait after the n-th failed attempt: 1, 4, 16, 64, 256, then 300 s. */
export function backoffSeconds(failedAttempts: number): number {
  return Math.min(4 ** (failedAttempts - 1), 300);
}
