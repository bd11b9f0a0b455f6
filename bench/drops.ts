import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createAuthority } from "../src/demo/certificates.ts";
import { startTestLog } from "../test/interop/test-logs.ts";
import { freePort } from "../test/support/postgres.ts";
import { projectFolder, startBareConsumer, startService, stopAll } from "./support/children.ts";
import { fillWatchList, openDatabase } from "./support/database.ts";
import { progress, type Reporter, runIfMain } from "./support/report.ts";

const bursts = 5;
const entriesPerBurst = 10_000;

/**
 * What the real certstream-server-go, with its default buffers (300 messages for each client), drops for three clients
 * that it serves at once: certwatch, a consumer that parses, and one that does nothing. A log on loopback grows in bursts,
 * which the server reads as fast as it can.
 */
export async function drops(report: Reporter): Promise<void> {
  const binary = findServer();
  if (binary === null) {
    progress("drops: left out, for there is no certstream-server-go; `npm run test:interop` builds it");
    return;
  }
  const database = await openDatabase({ fsync: false });
  const folder = mkdtempSync(join(tmpdir(), "certwatch-drops-"));
  const log = await startTestLog("rfc6962");
  const port = await freePort();
  const configFile = join(folder, "config.yml");
  writeFileSync(
    configFile,
    JSON.stringify({
      webserver: { listen_addr: "127.0.0.1", listen_port: port },
      prometheus: { enabled: true, listen_addr: "127.0.0.1", listen_port: port, metrics_url: "/metrics" },
      general: {
        disable_default_logs: true,
        additional_logs: [{ url: log.log.url, operator: "Operator", description: log.log.name }],
        recovery: { enabled: false },
      },
    }),
  );
  const server = spawn(binary, ["--config", configFile], { cwd: folder, env: {}, stdio: "ignore" });
  try {
    const url = `ws://127.0.0.1:${port}/full-stream`;
    const skipped = () => skippedByClient(`http://127.0.0.1:${port}/metrics`);
    while ((await skipped().catch(() => null)) === null) await sleep(50);
    await log.followed();
    await fillWatchList(database, 10_000);
    const clients: string[] = [];
    const connected = async () => {
      for (;;) {
        const added = [...(await skipped()).keys()].find((client) => !clients.includes(client));
        if (added !== undefined) return clients.push(added);
        await sleep(20);
      }
    };
    const service = await startService({ POSTGRES_DSN: database.dsn, CERTSTREAM_URL: url });
    await connected();
    await startBareConsumer(url, "parse");
    await connected();
    await startBareConsumer(url);
    await connected();

    const authority = createAuthority({ organization: "Bench", commonName: "Bench CA" });
    const issuances = Array.from({ length: 200 }, (_, i) =>
      authority.issue({ dnsNames: [`shop${i}.example`, `www.shop${i}.example`] }),
    );
    const submissions = Array.from({ length: entriesPerBurst }, (_, i) => ({
      issuance: issuances[i % issuances.length]!,
      kind: "X509LogEntry" as const,
    }));
    const received = async () =>
      (await service.metrics()).get('certwatch_ct_messages_total{type="certificate_update"}')!;
    for (let burst = 1; burst <= bursts; burst++) {
      const startMs = performance.now();
      log.publish(...submissions);
      const dropped = async () => (await skipped()).get(clients[0]!)!;
      while ((await received()) + (await dropped()) < burst * entriesPerBurst) {
        if (performance.now() - startMs > 120_000) throw new Error("the server does not read the log");
        await sleep(100);
      }
      progress(
        `drops: burst ${burst}, ${(entriesPerBurst / (performance.now() - startMs)).toFixed(1)} messages/ms`,
      );
    }
    const [certwatch, parsing, bare] = clients.map((client) => client);
    const counts = await skipped();
    const detail = `of ${(bursts * entriesPerBurst).toLocaleString("en-US")} in ${bursts} bursts`;
    const bar = { atMost: counts.get(bare!)! };
    report({ name: "dropped for certwatch", value: counts.get(certwatch!)!, unit: "", bar, detail });
    report({
      name: "dropped for a parsing consumer",
      value: counts.get(parsing!)!,
      unit: "",
      bar: null,
      detail,
    });
    report({ name: "dropped for a bare consumer", value: counts.get(bare!)!, unit: "", bar: null, detail });
  } finally {
    await stopAll();
    server.kill("SIGKILL");
    await log.close();
    rmSync(folder, { recursive: true, force: true });
    await database.close();
  }
}

async function skippedByClient(url: string): Promise<Map<string, number>> {
  const text = await (await fetch(url)).text();
  const lines = text.matchAll(/^certstreamservergo_skipped_certs\{client="([^"]*)"\} (\d+)/gm);
  return new Map([...lines].map(([, client, count]) => [client!, Number(count)]));
}

/** As the interop tests have built it. */
function findServer(): string | null {
  const folder = `${projectFolder}node_modules/.cache/certwatch/`;
  try {
    const name = readdirSync(folder).find((file) => /^certstream-server-go-v[\d.]+$/.test(file));
    return name === undefined ? null : join(folder, name);
  } catch {
    return null;
  }
}

await runIfMain(import.meta.url, drops);
