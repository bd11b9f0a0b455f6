import type { SendResult } from "./answer.ts";
import type { Delivery, Outcome } from "./outbox.ts";

/** How long the receiver may answer an event with nothing but "later" before the event is given up. */
const maxPostponedSeconds = 86_400;

/** Decides whether an event is delivered, due again after a wait, or given up, from the result of an attempt. */
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
    // The event is due at once, behind all events that are due already. `Patience` makes all of them wait.
    const isLast = (postponedSeconds ?? 0) >= maxPostponedSeconds;
    return { ...failure, retry_after_seconds: isLast ? null : 0 };
  }
  const failedAttempts = attempts + 1;
  const isLast = failedAttempts >= maxAttempts;
  return { ...failure, retry_after_seconds: isLast ? null : backoffSeconds(failedAttempts) };
}

/** Returns the wait after the n-th failed attempt: 1, 4, 16, 64, 256, then 300 s. */
export function backoffSeconds(failedAttempts: number): number {
  return Math.min(4 ** (failedAttempts - 1), 300);
}
