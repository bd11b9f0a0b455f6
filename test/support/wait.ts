import { setTimeout as sleep } from "node:timers/promises";

/**
 * How long tests wait for an event before they fail. It is no measure of anything: nothing waits longer than the event
 * takes, and a machine that is slow or busy must not make a test fail. The time limit of a test is longer still.
 */
export const patienceMs = 120_000;
const pollMs = 25;

/**
 * Asks again and again until the answer fits, and resolves with that answer.
 *
 * @param what is waited for, for the error
 */
export async function waitUntil<T>(
  what: string,
  ask: () => Promise<T> | T,
  fits: (answer: T) => boolean,
): Promise<T> {
  const endMs = performance.now() + patienceMs;
  for (;;) {
    const answer = await ask();
    if (fits(answer)) return answer;
    if (performance.now() > endMs)
      throw new Error(`waited in vain for ${what}; the last answer was ${JSON.stringify(answer)}`);
    await sleep(pollMs);
  }
}
