import type { Delivery, Outcome } from "./outbox.ts";
import type { SendResult } from "./webhook.ts";

/** Decides what becomes of an event after an attempt: delivered, due again after a wait, or given up. */
export function outcomeOf(
  { id, issuanceId, lease, attempts }: Pick<Delivery, "id" | "issuanceId" | "lease" | "attempts">,
  result: SendResult,
  maxAttempts: number,
): Outcome {
  const claim = { id, issuance_id: issuanceId, lease };
  if (result.ok) return { ...claim, delivered: true, error: null, retry_after_seconds: null };
  const failedAttempts = attempts + 1;
  const retryAfterSeconds = Math.max(backoffSeconds(failedAttempts), result.retryAfterSeconds);
  return {
    ...claim,
    delivered: false,
    error: result.error,
    retry_after_seconds: failedAttempts >= maxAttempts ? null : retryAfterSeconds,
  };
}

/** The wait after the n-th failed attempt: 1, 4, 16, 64, 256, then 300 s. */
export function backoffSeconds(failedAttempts: number): number {
  return Math.min(4 ** (failedAttempts - 1), 300);
}
