/** Returns a signal that the first SIGTERM or SIGINT aborts. The second ends the process at once, with status 1. */
export function untilStopped(): AbortSignal {
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (stop.signal.aborted) process.exit(1);
      stop.abort();
    });
  }
  return stop.signal;
}
