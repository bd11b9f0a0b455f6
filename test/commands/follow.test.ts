import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { inventoryFollow } from "../../src/commands/inventory/follow.ts";
import { parseDsn } from "../../src/db/dsn.ts";
import { openPool } from "../../src/db/pool.ts";
import { createAuthority } from "../../src/demo/certificates.ts";
import { byHand } from "../support/by-hand.ts";
import { pem } from "../support/pem.ts";
import { type Cluster, NO_POSTGRES, startCluster } from "../support/postgres.ts";
import { endPrograms, runProgram, spawnProgram } from "../support/program.ts";
import { describeIfAvailable } from "../support/skip.ts";
import { patienceMs, waitUntil } from "../support/wait.ts";

const authority = createAuthority({ commonName: "Example CA" });
const issue = (name: string) => authority.issue({ dnsNames: [name] }).certificateDer;
const added = (der: Buffer) => new RegExp(`added ${createHash("sha1").update(der).digest("hex")}`);

describeIfAvailable("inventory add --watch", NO_POSTGRES, () => {
  let cluster: Cluster;
  let dsn: string;
  let dir: string;
  beforeAll(async () => {
    cluster = await startCluster();
    dsn = await cluster.createDatabase();
  });
  afterAll(() => cluster?.close());
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "certwatch-follow-"));
  });
  afterEach(async () => {
    await endPrograms();
    rmSync(dir, { recursive: true });
    vi.unstubAllEnvs();
  });

  const follow = async (...paths: string[]) => {
    const program = spawnProgram(["inventory", "add", "--watch", ...paths], { POSTGRES_DSN: dsn });
    await program.waitForOutput(/Watching \d+ folders? for more/);
    return program;
  };
  const write = (path: string, content: string) => {
    mkdirSync(join(dir, path, ".."), { recursive: true });
    writeFileSync(join(dir, path), content);
  };

  test("adds what is there and what appears in folders old and new, and ends with 0", async () => {
    const [present, renamed, deep] = ["present.example", "renamed.example", "deep.example"].map(issue);
    write("present.pem", pem(present!));
    const program = await follow(dir);
    await program.waitForOutput(added(present!));
    // As lego and Caddy replace a file
    write("present.pem.tmp", pem(renamed!));
    renameSync(join(dir, "present.pem.tmp"), join(dir, "present.pem"));
    await program.waitForOutput(added(renamed!));
    write("acme/deep.example/deep.crt", pem(deep!));
    await program.waitForOutput(added(deep!));
    expect(await program.stop()).toBe(0);
    expect(program.stderr).toBe("");
  });

  test("notices when symbolic links are turned, as certbot and Kubernetes do", async () => {
    const ders = ["one.example", "two.example", "three.example", "four.example"].map(issue);
    write("archive/x/cert1.pem", pem(ders[0]!));
    mkdirSync(join(dir, "live/x"), { recursive: true });
    symlinkSync("../../archive/x/cert1.pem", join(dir, "live/x/cert.pem"));
    write("secret/..1/tls.crt", pem(ders[1]!));
    symlinkSync("..1", join(dir, "secret/..data"));
    symlinkSync("..data/tls.crt", join(dir, "secret/tls.crt"));
    // One as a folder, the other by the name of its file.
    const program = await follow(join(dir, "live"), join(dir, "secret/tls.crt"));
    await program.waitForOutput(added(ders[0]!));
    await program.waitForOutput(added(ders[1]!));

    write("archive/x/cert2.pem", pem(ders[2]!));
    rmSync(join(dir, "live/x/cert.pem"));
    symlinkSync("../../archive/x/cert2.pem", join(dir, "live/x/cert.pem"));
    await program.waitForOutput(added(ders[2]!));
    write("secret/..2/tls.crt", pem(ders[3]!));
    symlinkSync("..2", join(dir, "secret/..data_tmp"));
    renameSync(join(dir, "secret/..data_tmp"), join(dir, "secret/..data"));
    await program.waitForOutput(added(ders[3]!));
    program.signal("SIGINT");
    expect(await program.exited).toEqual({ status: 0, signal: null });
  });

  test("reports a half-written file when it has stopped changing, and adds it when it is whole", async () => {
    const der = issue("half.example");
    const program = await follow(dir);
    write("half.pem", pem(der).slice(0, 200));
    await program.waitForOutput(/bad: .*half\.pem: a PEM certificate is cut off/);
    write("half.pem", pem(der));
    await program.waitForOutput(added(der));
    expect(await program.stop()).toBe(0);
    expect(program.stderr.match(/bad:/g)).toHaveLength(1);
  });

  test("survives an outage of the database, also at the start", async () => {
    const [early, late] = ["early.example", "late.example"].map(issue);
    write("early.pem", pem(early!));
    await cluster.stop();
    const program = spawnProgram(["inventory", "add", "--watch", dir], { POSTGRES_DSN: dsn });
    await program.waitForOutput(/Will try again\./);
    await cluster.start();
    await program.waitForOutput(added(early!));
    await cluster.kill();
    write("late.pem", pem(late!));
    await program.waitForOutput(/(Will try again\.[\s\S]*){2}/);
    await cluster.start();
    await program.waitForOutput(added(late!));
    expect(await program.stop()).toBe(0);
  });

  test("ends at once where waiting does not help", async () => {
    const bare = await cluster.createDatabase({ schema: false });
    const { status, stderr } = await runProgram(["inventory", "add", "--watch", dir], { POSTGRES_DSN: bare });
    expect(stderr).toContain("there is no public.certs");
    expect(status).toBe(1);
  });

  test("looks again now and then where no event comes", async () => {
    write("elsewhere/cert.pem", "");
    mkdirSync(join(dir, "linked"));
    symlinkSync("../elsewhere/cert.pem", join(dir, "linked/cert.pem"));
    vi.stubEnv("POSTGRES_DSN", dsn);
    const stopping = new AbortController();
    const following = inventoryFollow([join(dir, "linked")], {
      embedded: false,
      source: "test",
      signal: stopping.signal,
      rescanMs: 100,
    });
    const db = openPool(parseDsn(dsn));
    const stored = async (name: string) => {
      const sql = { name: byHand, text: "SELECT FROM public.certs WHERE sans ->> 0 = $1", values: [name] };
      return (await db.query(sql, patienceMs)).length;
    };
    try {
      // The first looks come by themselves; once they are over, nothing but time brings the next.
      for (const name of ["silent1.example", "silent2.example", "silent3.example"]) {
        write("elsewhere/cert.pem", pem(issue(name)));
        await waitUntil(
          name,
          () => stored(name),
          (count) => count === 1,
        );
      }
    } finally {
      stopping.abort();
      await db.end();
    }
    expect(await following).toBe(0);
  });
});
