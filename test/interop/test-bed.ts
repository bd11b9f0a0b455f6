import { type CertstreamServerGo, startCertstreamServerGo } from "./certstream-server-go.ts";
import { startTestLog, type TestLog } from "./test-logs.ts";

/** A certstream server, and the two logs that it follows. */
export interface TestBed {
  rfc6962: TestLog;
  tiled: TestLog;
  server: CertstreamServerGo;
  stop(): Promise<void>;
}

/**
 * Starts both logs and the server; when it resolves, the server follows the logs: what is published from now on
 * reaches those who are registered as clients (`server.waitForClients`). `binary` is the server's,
 * `inject("certstreamServerGo")`; the logs start with so many entries of others.
 */
export async function startTestBed(
  binary: string,
  history: { rfc6962?: number; tiled?: number } = {},
): Promise<TestBed> {
  const rfc6962 = await startTestLog("rfc6962", history.rfc6962);
  const tiled = await startTestLog("tiled", history.tiled);
  const server = await startCertstreamServerGo(binary, [rfc6962.log, tiled.log]);
  await Promise.all([rfc6962.followed(), tiled.followed()]);
  return {
    rfc6962,
    tiled,
    server,
    async stop() {
      await server.stop();
      await Promise.all([rfc6962.close(), tiled.close()]);
    },
  };
}
