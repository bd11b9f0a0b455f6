import { readConfig } from "../config.ts";
import { createLogger } from "../log.ts";
import { type Service, startService } from "../service.ts";
import { untilStopped } from "./until-stopped.ts";

/**
 * Runs the service until SIGTERM or SIGINT. A second signal ends the process at once.
 *
 * @returns the exit status.
 */
export async function run(options: { embedded: boolean }): Promise<number> {
  const config = readConfig(process.env, options);
  const log = createLogger(config.logLevel);
  const stopped = untilStopped();
  let service: Service;
  try {
    service = await startService(config, log, stopped);
  } catch (error) {
    if (stopped.aborted) return 0;
    throw error;
  }
  stopped.addEventListener("abort", () => service.stop());
  if (stopped.aborted) service.stop();
  return await service.stopped;
}
