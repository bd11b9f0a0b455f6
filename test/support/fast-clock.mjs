// For a process that is to live through hours within seconds: node --import this file. Each timer of one second ends after
// a millisecond, and takes the clock ten seconds ahead.
const realSetTimeout = globalThis.setTimeout;
const realNow = Date.now;
let aheadMs = 0;
Date.now = () => realNow() + aheadMs;
globalThis.setTimeout = (run, delayMs, ...more) => {
  if (delayMs !== 1_000) return realSetTimeout(run, delayMs, ...more);
  aheadMs += 10_000;
  return realSetTimeout(run, 1, ...more);
};
