import { readConfig } from "../config.ts";
import { createLogger } from "../log.ts";
import { startService } from "../service.ts";

/**
 * Runs the service until SIGTERM or SIGINT; a second one ends the process at once.
 *
 * @returns the exit status.
 */
export async function run(options: { embedded: boolean }): Promise<number> {
  const config = readConfig(process.env, options);
  const log = createLogger(config.logLevel);
  const start = new AbortController();
  let stop = () => start.abort();
  let signals = 0;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      signals += 1;
      if (signals > 1) process.exit(1);
      stop();
    });
  }
  try {
    const service = await startService(config, log, start.signal);
    stop = () => service.stop();
    if (start.signal.aborted) service.stop();
    return await service.stopped;
  } catch (error) {
    if (start.signal.aborted) return 0;
    throw error;
  }
}
