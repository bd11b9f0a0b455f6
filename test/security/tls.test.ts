import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type Bed, entryOf, isFor, openBed } from "../program/bed.ts";
import { byHand } from "../support/by-hand.ts";
import { type Cluster, NO_POSTGRES, startCluster } from "../support/postgres.ts";
import { createPrivateCa, type PrivateCa } from "../support/private-ca.ts";
import { endPrograms, type LogLine, runProgram, spawnProgram } from "../support/program.ts";
import { describeIfAvailable, missing } from "../support/skip.ts";
import { startTlsProxy } from "./support.ts";

const untrusted = /self-signed certificate|unable to verify|unable to get (local )?issuer/;
const wrongName = /does not match certificate's altnames/;

describeIfAvailable("TLS", NO_POSTGRES ?? missing("openssl", "version"), () => {
  let ca: PrivateCa;
  let cluster: Cluster;
  let bed: Bed;
  const proxies: Awaited<ReturnType<typeof startTlsProxy>>[] = [];
  const [feed, hook] = [() => proxies[0]!.port, () => proxies[1]!.port];
  /** By name the certificate is right, by address it is not. */
  const feedUrl = (host: string) => `wss://${host}:${feed()}/full-stream`;
  const hookUrl = (host: string) => `https://${host}:${hook()}/`;
  const dsn = (host: string, parameters: string) =>
    `${cluster.dsn(bed.dsn.match(/@\/(\w+)/)![1], { tcp: true }).replace("127.0.0.1", host)}?${parameters}`;

  beforeAll(async () => {
    ca = createPrivateCa();
    cluster = await startCluster({
      tcp: true,
      files: { "server.crt": ca.file("server.crt"), "server.key": ca.file("server.key") },
      conf: ["ssl = on"],
      hba: ["local all all trust", "hostssl all all all trust"],
    });
    bed = await openBed(await cluster.createDatabase());
    for (const port of [bed.simulator.port, bed.receiver.port]) proxies.push(await startTlsProxy(ca, port));
  });
  afterEach(endPrograms);
  afterAll(async () => {
    for (const proxy of proxies) await proxy.close();
    await bed?.close();
    await cluster?.close();
    await ca?.remove();
  });

  const connected = (scheme: string) => (line: LogLine) =>
    line.msg === "connected to the feed" && String(line.feed).startsWith(`${scheme}:`);
  const refused = (line: LogLine) => line.msg.startsWith("cannot connect to the feed");

  test("feed, webhook and Postgres by a private authority that was given, and by their names: all of it works", async () => {
    const program = spawnProgram(["run"], {
      ...bed.env,
      NODE_EXTRA_CA_CERTS: ca.file("ca.crt"),
      POSTGRES_DSN: dsn("localhost", `sslmode=verify-full&sslrootcert=${ca.file("ca.crt")}`),
      CERTSTREAM_URL: feedUrl("localhost"),
      WEBHOOK_URL: hookUrl("localhost"),
    });
    await program.waitForLog(connected("wss"));
    await bed.simulator.publish(entryOf({ dnsNames: ["private-ca.watched.example"] }));
    await bed.receiver.waitFor(isFor("private-ca.watched.example"));
    expect(await program.stop()).toBe(0);
  });

  test.each([
    ["an authority that was not given", "localhost", {}, untrusted],
    ["the wrong name", "127.0.0.1", { NODE_EXTRA_CA_CERTS: "ca.crt" }, wrongName],
  ])("%s: feed and webhook are refused, and the rest goes on", async (what, host, files, reason) => {
    const extra = Object.entries(files).map(([name, file]) => [name, ca.file(file)]);
    const program = await bed.start({
      ...Object.fromEntries(extra),
      CERTSTREAM_URL: `${feedUrl(host)},${bed.simulator.url}`,
      WEBHOOK_URL: hookUrl(host),
      WEBHOOK_MAX_ATTEMPTS: "1",
    });
    expect((await program.waitForLog(refused)).reason).toMatch(reason);
    const before = bed.receiver.count;
    await bed.simulator.publish(entryOf({ dnsNames: [`${what.replaceAll(" ", "-")}.watched.example`] }));
    const line = await program.waitForLog("delivery given up");
    expect(line.error).toMatch(reason);
    expect(bed.receiver.count).toBe(before);
    expect(program.lines.some(connected("wss"))).toBe(false);
    expect(await program.stop()).toBe(0);
  });

  test.each([
    ["verify-full, another authority", "localhost", "sslmode=verify-full&sslrootcert=other.crt", untrusted],
    ["verify-full, the wrong name", "127.0.0.1", "sslmode=verify-full&sslrootcert=ca.crt", wrongName],
    [
      "verify-full, the authorities of Node.js",
      "localhost",
      "sslmode=verify-full&sslrootcert=system",
      untrusted,
    ],
    ["verify-ca, another authority", "localhost", "sslmode=verify-ca&sslrootcert=other.crt", untrusted],
    ["disable, where the server wants TLS", "localhost", "sslmode=disable", /no pg_hba\.conf entry/],
  ])("Postgres with %s: refused at start, status 3", async (_, host, parameters, reason) => {
    const withPaths = parameters.replace(/(\w+\.crt)/, (file) => ca.file(file));
    const program = await runProgram(["run"], { ...bed.env, POSTGRES_DSN: dsn(host, withPaths) });
    expect(program.status).toBe(3);
    expect(program.stderr).toMatch(reason);
  });

  test.each([
    ["verify-ca, the wrong name", "127.0.0.1", "sslmode=verify-ca&sslrootcert=ca.crt"],
    ["require, without an authority", "127.0.0.1", "sslmode=require"],
    ["prefer, the default", "127.0.0.1", "application_name=x"],
  ])("Postgres with %s: accepted, as by libpq", async (_, host, parameters) => {
    const withPaths = parameters.replace(/(\w+\.crt)/, (file) => ca.file(file));
    const program = await bed.start({ POSTGRES_DSN: dsn(host, withPaths) });
    const [row] = await bed.db.query<{ encrypted: boolean }>(
      {
        name: byHand,
        text: `SELECT bool_and(ssl) AS encrypted FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
               WHERE datname = current_database() AND pid <> pg_backend_pid() AND client_addr IS NOT NULL`,
      },
      10_000,
    );
    expect(row).toEqual({ encrypted: true });
    expect(await program.stop()).toBe(0);
  });
});
