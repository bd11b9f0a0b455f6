import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type Bed, entryOf, openBed } from "../program/bed.ts";
import { byHand } from "../support/by-hand.ts";
import { type Cluster, freePort, NO_POSTGRES, startCluster } from "../support/postgres.ts";
import { endPrograms, type Program, runProgram, spawnProgram } from "../support/program.ts";
import { leaksIn, secrets, secretWebhookUrl, withSecrets } from "../support/secrets.ts";
import { describeIfAvailable } from "../support/skip.ts";
import { patienceMs, waitUntil } from "../support/wait.ts";
import { publicPages } from "./support.ts";

describeIfAvailable("secrets are in nothing that is printed or served", NO_POSTGRES, () => {
  let cluster: Cluster;
  let bed: Bed;
  let database: string;
  beforeAll(async () => {
    cluster = await startCluster({
      tcp: true,
      conf: ["password_encryption = 'scram-sha-256'"],
      hba: ["local all all trust", "host all all all scram-sha-256"],
    });
    bed = await openBed(await cluster.createDatabase());
    database = bed.dsn.match(/@\/(\w+)/)![1]!;
    await bed.db.execute({ name: byHand, text: "ALTER ROLE postgres PASSWORD 'another one'" }, 10_000);
  });
  afterEach(async () => {
    bed.receiver.setBehaviour(200);
    bed.simulator.refuse(null);
    await endPrograms(); // looks for them too
  });
  afterAll(async () => {
    await bed?.close();
    await cluster?.close();
  });

  const tcpDsn = (password: string) =>
    `postgres://postgres:${password}@127.0.0.1:${cluster.port}/${database}`;
  const debug = { LOG_LEVEL: "debug" };

  test("the program itself has them: they reach the receiver and the feed", async () => {
    const program = await bed.start(debug);
    await bed.simulator.publish(entryOf({ dnsNames: ["seen.watched.example"] }));
    const [delivery] = [await bed.receiver.waitFor(() => true)];
    expect(delivery.headers.authorization).toBe(secrets.authorization);
    expect(delivery.path).toBe(`/${secrets.webhookPath}?token=${secrets.webhookToken}`);
    // Where they are they would be found, in any of these forms.
    expect(leaksIn(`x ${delivery.headers.authorization}`)).not.toEqual([]);
    expect(leaksIn(Buffer.from(`user:${secrets.feedPassword}`).toString("base64"))).not.toEqual([]);
    expect(leaksIn(await publicPages(program.apiUrl))).toEqual([]);
    await program.stop();
    expect(leaksIn(program.output)).toEqual([]);
  });

  test.each<[string, () => NodeJS.ProcessEnv, number, string]>([
    [
      "a wrong password",
      () => ({ POSTGRES_DSN: tcpDsn(secrets.dsnPassword) }),
      3,
      "password authentication failed",
    ],
    [
      "a wrong password on each of two hosts",
      () => ({ POSTGRES_DSN: tcpDsn(secrets.dsnPassword).replace("@", `@127.0.0.1:${cluster.port},`) }),
      3,
      "password authentication failed",
    ],
    [
      "a database that does not exist",
      () => ({ POSTGRES_DSN: withSecrets(bed.dsn.replace(database, "nowhere"), secrets.dsnPassword) }),
      3,
      '"nowhere" does not exist',
    ],
    [
      "a DSN that cannot be taken apart",
      () => ({ POSTGRES_DSN: `postgres://user:${secrets.dsnPassword}/x@host/db` }),
      2,
      "POSTGRES_DSN",
    ],
    [
      "a DSN with a wrong parameter",
      () => ({ POSTGRES_DSN: `${tcpDsn(secrets.dsnPassword)}?sslmode=full&password=${secrets.dsnPassword}` }),
      2,
      "sslmode",
    ],
    [
      "URLs of the wrong kind",
      () => ({
        CERTSTREAM_URL: withSecrets("http://feed.example/", secrets.feedPassword, secrets.feedToken),
        WEBHOOK_URL: secretWebhookUrl(`ftp://hook.example/`),
      }),
      2,
      "WEBHOOK_URL=***",
    ],
    [
      "URLs with a fragment, and secrets where they cannot stand",
      () => ({
        CERTSTREAM_URL: `wss://feed.example/#${secrets.feedToken}`,
        WEBHOOK_URL: `https://user:${secrets.webhookPassword}#@hook.example/${secrets.webhookPath}`,
        WEBHOOK_SECRET: `${secrets.webhookSecret}é`,
        CERTSTREAM_AUTHORIZATION: `${secrets.feedAuthorization},${secrets.feedAuthorization}`,
        WEBHOOK_AUTHORIZATION: `${secrets.authorization}\nX: y`,
        API_PORT: "x",
      }),
      2,
      "WEBHOOK_AUTHORIZATION=***",
    ],
    ["a port that is taken", () => ({ API_PORT: String(bed.simulator.port) }), 2, "cannot listen"],
  ])("%s", async (_, env, status, said) => {
    const program = await runProgram(["run"], { ...bed.env, ...debug, ...env() });
    expect(program.status).toBe(status);
    expect(program.output).toContain(said);
    expect(leaksIn(program.output)).toEqual([]);
  });

  /** The program while something is wrong, and after a stop: its log and its pages. */
  async function check(program: Program): Promise<void> {
    expect(leaksIn(await publicPages(program.apiUrl))).toEqual([]);
    await program.stop();
    expect(leaksIn(program.output)).toEqual([]);
  }

  test.each([401, 403, 429, 503, 301])("a feed that answers %d", async (status) => {
    // Servers repeat the request in what they answer.
    const path = encodeURIComponent(`${secrets.feedToken} ${secrets.feedAuthorization}`);
    const location = withSecrets(`ws://elsewhere.example/${path}/`, secrets.feedPassword, secrets.feedToken);
    bed.simulator.refuse({
      status,
      headers: { Location: location, "WWW-Authenticate": location, "Retry-After": "1" },
    });
    const authorization = { CERTSTREAM_AUTHORIZATION: secrets.feedAuthorization };
    const program = spawnProgram(["run"], { ...bed.env, ...debug, ...authorization });
    await program.waitForLog("refuses this client");
    await check(program);
  });

  test("a feed and a receiver that cannot be reached", async () => {
    const port = await freePort();
    const noName = "nowhere.invalid";
    const program = spawnProgram(["run"], {
      ...bed.env,
      ...debug,
      CERTSTREAM_URL: [bed.env.CERTSTREAM_URL, `ws://127.0.0.1:${port}`, `ws://${noName}`, "ws://localhost:1"]
        .map((url, i) => (i === 0 ? url : withSecrets(`${url}/`, secrets.feedPassword, secrets.feedToken)))
        .join(),
      WEBHOOK_URL: secretWebhookUrl(`http://127.0.0.1:${port}/`),
      WEBHOOK_MAX_ATTEMPTS: "1",
    });
    await program.waitForLog("connected to the feed");
    await program.waitForLog(
      (line) => line.msg.startsWith("cannot connect") && String(line.feed).includes(noName),
    );
    await bed.simulator.publish(entryOf({ dnsNames: ["unreachable.watched.example"] }));
    await program.waitForLog("delivery given up");
    await check(program);
    const [row] = await bed.db.query<{ rows: string }>(
      { name: byHand, text: "SELECT json_agg(to_jsonb(a))::text AS rows FROM public.alerts a" },
      10_000,
    );
    expect(row!.rows).toContain("unreachable.watched.example");
    expect(leaksIn(row!.rows)).toEqual([]);
  });

  test.each([
    ["500", { status: 500 }],
    ["301", { status: 301 }],
    ["close", "close" as const],
  ])("a receiver that answers %s, and repeats the request in it", async (name, behaviour) => {
    bed.receiver.setBehaviour(({ headers, path, body }) => {
      const echo = `${JSON.stringify(headers)} ${path} ${body}`;
      return behaviour === "close"
        ? behaviour
        : { ...behaviour, headers: { Location: `/${encodeURIComponent(echo)}` }, body: echo };
    });
    const program = await bed.start({ ...debug, WEBHOOK_MAX_ATTEMPTS: "1" });
    await bed.simulator.publish(entryOf({ dnsNames: [`r${name}.watched.example`] }));
    const { error } = await program.waitForLog("delivery given up");
    if (behaviour !== "close") expect(error).toMatch(/^the receiver answered \d+.*: .*\*\*\*/);
    await check(program);
    const [row] = await bed.db.query<{ errors: string }>(
      { name: byHand, text: "SELECT json_agg(last_error)::text AS errors FROM public.alerts" },
      10_000,
    );
    expect(row!.errors).toContain(JSON.stringify(error));
    expect(leaksIn(row!.errors)).toEqual([]);
  });

  test("a database that goes away", async () => {
    await bed.db.execute(
      { name: byHand, text: `ALTER ROLE postgres PASSWORD '${secrets.dsnPassword}'` },
      10_000,
    );
    const program = await bed.start({ ...debug, POSTGRES_DSN: tcpDsn(secrets.dsnPassword) });
    await bed.db.execute({ name: byHand, text: "ALTER ROLE postgres PASSWORD 'changed meanwhile'" }, 10_000);
    // Again and again: sessions that were on their way in when the others ended still come, and record.
    const end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE client_addr IS NOT NULL";
    let sent = 0;
    const tryToRecord = async () => {
      await bed.db.execute({ name: byHand, text: end }, patienceMs);
      await bed.simulator.publish(entryOf({ dnsNames: [`away${sent++}.watched.example`] }));
      return program.lines.some(({ msg }) => msg.startsWith("recording failed"));
    };
    await waitUntil("a record that fails", tryToRecord, (hasFailed) => hasFailed);
    expect(leaksIn(await publicPages(program.apiUrl))).toEqual([]);
    program.signal("SIGTERM");
    expect((await program.exited).status).toBe(1);
    expect(program.lines.at(-1)).toMatchObject({ msg: "stopped" });
    expect(program.lines.filter(({ dropped }) => dropped !== undefined)).not.toEqual([]);
    expect(leaksIn(program.output)).toEqual([]);
  });
});
