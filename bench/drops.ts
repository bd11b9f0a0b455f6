import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { setPriority, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createAuthority } from "../src/demo/certificates.ts";
import { type Submission, startTestLog } from "../test/interop/test-logs.ts";
import { freePort } from "../test/support/postgres.ts";
import { projectFolder, startBareConsumer, startService, stopAll } from "./support/children.ts";
import { type BenchDatabase, fillWatchList, withDatabase } from "./support/database.ts";
import { progress, type Reporter, runIfMain } from "./support/report.ts";

const bursts = 3;
const entriesPerBurst = 10_000;
/** Loses more than that: falls behind. Less can happen to anybody whom the scheduler has forgotten for a moment. */
const fallsBehind = 0.01 * bursts * entriesPerBurst;
/**
 * What the consumers get of one core that they share with the server, which has the usual priority: less and less, until
 * the one that parses falls behind. With the machine to themselves none of them ever does: the server is slower.
 */
const nicenesses = [0, 5, 10, 15, 19];

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
  await withDatabase((database) => dropsOf(binary, database, report), { fsync: false });
}

async function dropsOf(binary: string, database: BenchDatabase, report: Reporter): Promise<void> {
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
    const parsingPid = await startBareConsumer(url, "parse");
    await connected();
    const barePid = await startBareConsumer(url);
    await connected();

    const submissions = makeSubmissions();
    let published = 0;
    const received = async () =>
      (await service.metrics()).get('certwatch_ct_messages_total{type="certificate_update"}')!;
    /** Dropped for each of the clients. */
    const measure = async (): Promise<number[]> => {
      const before = await skipped();
      for (let burst = 1; burst <= bursts; burst++) {
        const startMs = performance.now();
        log.publish(...submissions);
        published += submissions.length;
        const dropped = async () => (await skipped()).get(clients[0]!)!;
        while ((await received()) + (await dropped()) < published) {
          if (performance.now() - startMs > 120_000) throw new Error("the server does not read the log");
          await sleep(100);
        }
        progress(`drops: ${(submissions.length / (performance.now() - startMs)).toFixed(1)} messages/ms`);
      }
      const after = await skipped();
      return clients.map((client) => after.get(client)! - before.get(client)!);
    };
    const reportAll = (where: string, [certwatch, parsing, bare]: number[]) => {
      const detail = `of ${(bursts * entriesPerBurst).toLocaleString("en-US")}; a bare consumer ${bare}, one that parses ${parsing}`;
      const bar = { atMost: Math.max(bare!, fallsBehind) };
      report({ name: `dropped ${where}`, value: certwatch!, unit: "", bar, detail });
    };

    reportAll("with the machine to itself", await measure());
    for (const pid of [server.pid!, service.pid, parsingPid, barePid]) pinToFirstCore(pid);
    for (const niceness of nicenesses) {
      for (const pid of [service.pid, parsingPid, barePid]) setPriority(pid, niceness);
      const counts = await measure();
      progress(`drops: on one core, niceness ${niceness}: ${counts}`);
      if (counts[1]! <= fallsBehind && niceness !== nicenesses.at(-1)) continue;
      reportAll(`on one core, niceness ${niceness}`, counts);
      break;
    }
  } finally {
    await stopAll(); // before the server: they would complain
    server.kill("SIGKILL");
    await log.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

function makeSubmissions(): Submission[] {
  const authority = createAuthority({ organization: "Bench", commonName: "Bench CA" });
  const issuances = Array.from({ length: 200 }, (_, i) =>
    authority.issue({ dnsNames: [`shop${i}.example`, `www.shop${i}.example`] }),
  );
  return Array.from({ length: entriesPerBurst }, (_, i) => ({
    issuance: issuances[i % issuances.length]!,
    kind: "X509LogEntry",
  }));
}

/** All threads of the process. */
function pinToFirstCore(pid: number): void {
  execFileSync("taskset", ["--all-tasks", "--pid", "--cpu-list", "0", String(pid)], { stdio: "ignore" });
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
