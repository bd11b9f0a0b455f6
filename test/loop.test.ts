import { describe, expect, test } from "vitest";
import { Backoff, interruptibleSleep, Loop } from "../src/loop.ts";
import { waitUntil } from "./support/wait.ts";

/** A loop whose steps the test ends by hand. */
function controlledLoop(options: { stallMs?: number } = {}) {
  const errors: unknown[] = [];
  const steps: { resolve: (delayMs: number) => void; reject: (error: Error) => void; signal: AbortSignal }[] =
    [];
  const waiters = new Set<() => void>();
  const loop = new Loop({
    name: "test",
    step: (signal) =>
      new Promise((resolve, reject) => {
        steps.push({ resolve, reject, signal });
        for (const check of waiters) check();
      }),
    onError: (error) => errors.push(error),
    ...options,
  });
  const begun = (count: number) =>
    new Promise<void>((resolve) => {
      const check = () => {
        if (steps.length >= count) resolve();
      };
      waiters.add(check);
      check();
    });
  return { loop, steps, errors, begun };
}
/** Long enough for what should not happen to happen. */
const turn = () => new Promise((resolve) => setTimeout(resolve, 30));

describe("Loop", () => {
  test("steps follow one another, at once, after their delay, or when woken", async () => {
    const { loop, steps, begun } = controlledLoop();
    loop.start();
    loop.start(); // a second time means nothing
    await begun(1);
    steps[0]!.resolve(0);
    await begun(2);
    steps[1]!.resolve(50);
    await begun(3);
    steps[2]!.resolve(Number.POSITIVE_INFINITY);
    await turn();
    expect(steps).toHaveLength(3);
    loop.wake();
    await begun(4);
    steps[3]!.resolve(Number.POSITIVE_INFINITY);
    await loop.stop();
    expect(steps).toHaveLength(4);
  });

  test("a wake-up during a step is not lost, and two make one step", async () => {
    const { loop, steps, begun } = controlledLoop();
    loop.start();
    await begun(1);
    loop.wake();
    loop.wake();
    steps[0]!.resolve(Number.POSITIVE_INFINITY);
    await begun(2);
    steps[1]!.resolve(Number.POSITIVE_INFINITY);
    await turn();
    expect(steps).toHaveLength(2);
    await loop.stop();
  });

  test("a wake-up before the start is no step too many", async () => {
    const { loop, steps, begun } = controlledLoop();
    loop.wake();
    loop.start();
    await begun(1);
    steps[0]!.resolve(Number.POSITIVE_INFINITY);
    await turn();
    expect(steps).toHaveLength(1);
    await loop.stop();
  });

  test("a failed step is told, and repeated after a back-off that wake-ups do not shorten", async () => {
    const { loop, steps, errors, begun } = controlledLoop();
    loop.start();
    await begun(1);
    const failedMs = performance.now();
    steps[0]!.reject(new Error("no"));
    await turn();
    loop.wake();
    await begun(2);
    expect(performance.now() - failedMs).toBeGreaterThanOrEqual(249);
    expect(errors).toEqual([new Error("no")]);
    expect(loop.problem()).toBeNull();
    steps[1]!.reject(new Error("again"));
    await turn();
    await loop.stop(); // interrupts the back-off
    expect(steps).toHaveLength(2);
  });

  test("a step that throws at once is a failed step", async () => {
    const errors: unknown[] = [];
    const loop = new Loop({
      name: "test",
      step: () => {
        throw new Error("at once");
      },
      onError: (error) => errors.push(error),
    });
    loop.start();
    await turn();
    await loop.stop();
    expect(errors).toEqual([new Error("at once")]);
  });

  test("stop lets the running step end, which sees its signal aborted, and begins no other", async () => {
    const { loop, steps, begun } = controlledLoop();
    loop.start();
    await begun(1);
    let hasStopped = false;
    const stopped = loop.stop().then(() => {
      hasStopped = true;
    });
    await turn();
    expect([hasStopped, steps[0]!.signal.aborted]).toEqual([false, true]);
    steps[0]!.resolve(0);
    await stopped;
    loop.wake();
    await turn();
    expect(steps).toHaveLength(1);
  });

  test("stop of a loop that was never started, and twice", async () => {
    const { loop, steps } = controlledLoop();
    await loop.stop();
    await loop.stop();
    expect(steps).toHaveLength(0);
  });

  test("a stuck step is a problem, a long sleep is none", async () => {
    const { loop, steps, begun } = controlledLoop({ stallMs: 1_000 });
    const problem = () => loop.problem();
    loop.start();
    await begun(1);
    expect(problem()).toBeNull();
    const stuck = await waitUntil("the problem", problem, (text) => text !== null);
    expect(stuck).toBe("test has been stuck for more than 1 s");
    steps[0]!.resolve(600_000);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(problem()).toBeNull();
    await loop.stop();
  });

  test("a loop whose error handler fails has died, and says so", async () => {
    let calls = 0;
    const loop = new Loop({
      name: "test",
      step: () => Promise.reject(new Error("no")),
      onError: () => {
        calls += 1;
        throw new Error("the log is full");
      },
    });
    loop.start();
    await turn();
    expect(loop.problem()).toBe("test has died");
    expect(calls).toBe(1);
    await loop.stop();
  });
});

describe("Backoff", () => {
  test("half a second, twice as long each time, half a minute at most, and from the start again after a success", () => {
    const longestMs = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000];
    const backoff = new Backoff();
    for (let round = 0; round < 100; round += 1) {
      for (const longest of longestMs) {
        const waitMs = backoff.nextMs();
        expect(waitMs).toBeGreaterThanOrEqual(longest / 2);
        expect(waitMs).toBeLessThanOrEqual(longest);
      }
      backoff.reset();
    }
  });
});

describe("interruptibleSleep", () => {
  test("never rejects, and a longer time than a timer keeps does not fire at once", async () => {
    const stop = new AbortController();
    let awake = false;
    const sleeping = interruptibleSleep(Number.POSITIVE_INFINITY, stop.signal).then(() => {
      awake = true;
    });
    await turn();
    expect(awake).toBe(false);
    stop.abort();
    await sleeping;
    await interruptibleSleep(60_000, stop.signal); // aborted already
    await interruptibleSleep(5, new AbortController().signal);
  });
});
