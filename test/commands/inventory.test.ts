import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Database } from "../../src/db/pool.ts";
import { createAuthority } from "../../src/demo/certificates.ts";
import { byHand } from "../support/by-hand.ts";
import { describeOnEveryDatabase, openDatabase } from "../support/databases.ts";
import { pem } from "../support/pem.ts";
import { runProgram } from "../support/program.ts";

const deadlineMs = 20_000;
const authority = createAuthority({ commonName: "Example CA" });
const issue = (...dnsNames: string[]) => authority.issue({ dnsNames });
const sha1 = (der: Buffer) => createHash("sha1").update(der).digest("hex");
const key = pem(Buffer.from("secret"), "PRIVATE KEY");

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "certwatch-inventory-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

function write(path: string, content: string | Buffer): string {
  const full = join(dir, path);
  mkdirSync(join(full, ".."), { recursive: true });
  writeFileSync(full, content);
  return full;
}

describe("inventory fingerprint", () => {
  test("prints a line of JSON for each certificate, without any configuration", async () => {
    const { certificateDer, fields, preCert } = issue("a.example", "*.a.example");
    const { status, stdout, stderr } = await runProgram(
      ["inventory", "fingerprint", "-"],
      {},
      { input: key + pem(certificateDer) + pem(authority.certificate.der) },
    );
    expect(JSON.parse(stdout)).toEqual({
      fingerprint_sha1: sha1(certificateDer),
      serial: fields.serialHex,
      sans: ["a.example", "*.a.example"],
      not_before: fields.notBeforeEpochSeconds,
      not_after: fields.notAfterEpochSeconds,
      tbs_sha256: createHash("sha256").update(preCert.tbsDer).digest("hex"),
      file: "-",
    });
    expect(stderr).toBe("skipped: -: PEM certificate 2: a CA certificate (CN=Example CA)\n");
    expect(status).toBe(0);
  });

  test("reports a bad file, goes on, and exits with 1", async () => {
    const good = write("good.pem", pem(issue("good.example").certificateDer));
    const bad = write("bad.txt", "hello");
    const gone = join(dir, "gone.pem");
    const { status, stdout, stderr } = await runProgram(["inventory", "fingerprint", bad, gone, good]);
    expect(JSON.parse(stdout)).toMatchObject({ file: good });
    expect(stderr.split("\n")).toEqual([
      `bad: ${gone}: no such file or folder`,
      `bad: ${bad}: holds no certificate (PEM or DER)`,
      "",
    ]);
    expect(status).toBe(1);
  });

  test("looks through folders as certbot, Kubernetes, lego and Caddy have them", async () => {
    const ders = Array.from({ length: 5 }, (_, i) => issue(`${i}.example`).certificateDer);
    // certbot
    write("archive/x/fullchain1.pem", pem(ders[0]!) + pem(authority.certificate.der));
    write("live/x/README", "see -----BEGIN ...");
    symlinkSync("../../archive/x/fullchain1.pem", join(dir, "live/x/fullchain.pem"));
    // a mounted secret
    write("secret/..2026/tls.crt", pem(ders[1]!));
    write("secret/..2026/tls.key", key);
    write("secret/..2026/ca.crt", "");
    symlinkSync("..2026", join(dir, "secret/..data"));
    for (const name of ["tls.crt", "tls.key", "ca.crt"]) {
      symlinkSync(`..data/${name}`, join(dir, "secret", name));
    }
    // lego and Caddy
    write("lego/certificates/x.crt", pem(ders[2]!));
    write("lego/certificates/x.json", '{"domain":"x"}');
    write("caddy/certificates/acme/x/x.crt", pem(ders[3]!));
    // DER, beside a DER key and a link that goes round
    write("der/x.cer", ders[4]!);
    write("der/key.bin", Buffer.from("3003020100", "hex"));
    symlinkSync("..", join(dir, "der/round"));
    symlinkSync("nowhere", join(dir, "der/dangling.pem"));

    const { status, stdout, stderr } = await runProgram(["inventory", "fingerprint", dir]);
    const lines = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { fingerprint_sha1: string });
    expect(lines.map((line) => line.fingerprint_sha1).sort()).toEqual(ders.map(sha1).sort());
    expect(stderr).toMatch(
      /^skipped: .*fullchain1?.pem: PEM certificate 2: a CA certificate \(CN=Example CA\)\n$/,
    );
    expect(status).toBe(0);
  });
});

describeOnEveryDatabase("inventory", (open) => {
  let dsn: string;
  let db: Database;
  let certwatch: (...args: [string[], string?]) => ReturnType<typeof runProgram>;
  beforeAll(async () => {
    const opened = await openDatabase(open);
    ({ dsn, db } = opened);
    certwatch = (args, input) => runProgram(["inventory", ...args], { POSTGRES_DSN: dsn }, { input });
    return opened.close;
  });
  beforeEach(async () => {
    await db.execute({ name: byHand, text: "DELETE FROM public.certs" }, deadlineMs);
  });
  const rows = () =>
    db.query<Record<string, unknown>>(
      { name: byHand, text: "SELECT * FROM public.certs ORDER BY not_after" },
      deadlineMs,
    );

  test("add stores what the schema asks for; again, it changes nothing", async () => {
    const { certificateDer, fields, preCert } = issue("a.example", "nul\0.example");
    const file = write("a.pem", pem(certificateDer));
    const first = await certwatch(["add", file, "--source", "test"]);
    expect(first.stdout).toBe(
      `added ${sha1(certificateDer)}  a.example, nul\\u0000.example  ${file}\n1 certificate: 1 added, 0 updated, 0 unchanged\n`,
    );
    const stored = await rows();
    expect(stored).toEqual([
      {
        fingerprint_sha1: sha1(certificateDer),
        serial: fields.serialHex,
        sans: ["a.example", "nul\ufffd.example"],
        not_before: fields.notBeforeEpochSeconds,
        not_after: fields.notAfterEpochSeconds,
        source: "test",
        added_at: expect.any(Number),
        tbs_sha256: createHash("sha256").update(preCert.tbsDer).digest("hex"),
      },
    ]);
    const second = await certwatch(["add", file, dir]);
    expect(second.stdout).toBe("1 certificate: 0 added, 0 updated, 1 unchanged\n");
    expect(await rows()).toEqual(stored);
    expect([first.status, second.status, first.stderr, second.stderr]).toEqual([0, 0, "", ""]);
  });

  test("add fills in what a row of upstream lacks, and leaves the rest of it alone", async () => {
    const { certificateDer, preCert } = issue("a.example");
    await db.execute(
      {
        name: byHand,
        text: `INSERT INTO public.certs (fingerprint_sha1, sans, not_before, not_after, source, added_at)
               VALUES ($1, '["upstream.example"]', 1, 2, 'upstream', 3)`,
        values: [sha1(certificateDer)],
      },
      deadlineMs,
    );
    const { stdout } = await certwatch(["add", "-"], pem(certificateDer));
    expect(stdout).toMatch(/^updated .*\n1 certificate: 0 added, 1 updated, 0 unchanged\n$/);
    expect(await rows()).toMatchObject([
      {
        sans: ["upstream.example"],
        source: "upstream",
        added_at: 3,
        tbs_sha256: createHash("sha256").update(preCert.tbsDer).digest("hex"),
        serial: expect.stringMatching(/^[0-9A-F]+$/),
      },
    ]);
  });

  test("add reports bad files, adds the others, and exits with 1", async () => {
    const good = pem(issue("good.example").certificateDer);
    write("half.pem", good.slice(0, 200));
    write("wrong.der", Buffer.from("30030201", "hex"));
    write("key.pem", key);
    write("good.pem", good);
    const { status, stdout, stderr } = await certwatch(["add", dir]);
    expect(stdout).toContain("1 certificate: 1 added, 0 updated, 0 unchanged, 2 problems\n");
    expect(stderr.split("\n").sort()).toEqual([
      "",
      `bad: ${join(dir, "half.pem")}: a PEM certificate is cut off`,
      `bad: ${join(dir, "wrong.der")}: DER: not an X.509 certificate`,
    ]);
    expect(status).toBe(1);
  });

  test("add stores more certificates than one statement takes", async () => {
    const ders = Array.from({ length: 1001 }, (_, i) => issue(`${i}.example`).certificateDer);
    const { stdout } = await certwatch(["add", "-"], ders.map((der) => pem(der)).join(""));
    expect(stdout).toContain("1001 certificates: 1001 added, 0 updated, 0 unchanged\n");
    expect(await rows()).toHaveLength(1001);
    const list = await certwatch(["list", "--json"]);
    expect(list.stdout.trim().split("\n")).toHaveLength(1001);
  });

  test("list filters by name and by expiry", async () => {
    const oldSeconds = { notBeforeEpochSeconds: 1_600_000_000, notAfterEpochSeconds: 1_607_000_000 };
    const expired = authority.issue({ dnsNames: ["old.example"], ...oldSeconds }).certificateDer;
    const wild = issue("*.a.example").certificateDer;
    const plain = issue("B.example", "x.b.example").certificateDer;
    await certwatch(["add", "-"], [expired, wild, plain].map((der) => pem(der)).join(""));
    const listed = async (...args: string[]) => {
      const { stdout } = await certwatch(["list", "--json", ...args]);
      const lines = stdout.split("\n").filter((line) => line !== "");
      return lines.map((line) => (JSON.parse(line) as { fingerprint_sha1: string }).fingerprint_sha1);
    };
    expect(new Set(await listed())).toEqual(new Set([sha1(expired), sha1(wild), sha1(plain)]));
    expect(await listed("--expired")).toEqual([sha1(expired)]);
    expect(await listed("--name", "X.a.example.")).toEqual([sha1(wild)]);
    expect(await listed("--name", "a.example")).toEqual([]);
    expect(await listed("--name", "b.example")).toEqual([sha1(plain)]);
    const table = await certwatch(["list", "--expired"]);
    expect(table.stdout).toMatch(
      /^FINGERPRINT .*\n[0-9a-f]{40} {2}2020-09-13 12:26 {2}2020-12-03 12:53 expired {2}certwatch inventory add {2}old\.example\n$/,
    );
  });

  test("list shows no escape sequence, whatever upstream wrote", async () => {
    await db.execute(
      {
        name: byHand,
        text: `INSERT INTO public.certs (fingerprint_sha1, sans, not_before, not_after, source, added_at)
               VALUES ('\u001b[2J', '["\\u001b]0;x\\u0007", 7]', 1, 9000000000000000, E'a\\x1b[31m', 3)`,
      },
      deadlineMs,
    );
    const [table, json] = [await certwatch(["list"]), await certwatch(["list", "--json"])];
    for (const { stdout, status } of [table, json]) {
      expect(stdout).not.toContain("\u001b");
      expect(status).toBe(0);
    }
    expect(table.stdout).toContain("\\u001b]0;x\\u0007, 7");
  });

  test("remove takes fingerprints in any notation, and says which were not there", async () => {
    const { certificateDer } = issue("a.example");
    await certwatch(["add", "-"], pem(certificateDer));
    const colons = sha1(certificateDer).toUpperCase().match(/../g)!.join(":");
    const { status, stdout, stderr } = await certwatch(["remove", colons, "0".repeat(40)]);
    expect(stdout).toBe(`removed ${sha1(certificateDer)}\n`);
    expect(stderr).toBe(`not in the inventory: ${"0".repeat(40)}\n`);
    expect(status).toBe(1);
    expect(await rows()).toEqual([]);
    expect(await certwatch(["remove", "abc"])).toMatchObject({ status: 2 });
  });
});

describeOnEveryDatabase("inventory add refuses", (open) => {
  let dsn: string;
  let db: Database;
  beforeAll(async () => {
    const opened = await openDatabase(open, { schema: false });
    ({ dsn, db } = opened);
    return opened.close;
  });
  const add = async (sql: string) => {
    await db.execute(
      { name: byHand, text: `DROP SCHEMA public CASCADE; CREATE SCHEMA public; ${sql}` },
      deadlineMs,
    );
    const input = pem(issue("a.example").certificateDer);
    return await runProgram(["inventory", "add", "-"], { POSTGRES_DSN: dsn }, { input });
  };
  const columns = "sans JSONB, not_before BIGINT, not_after BIGINT";

  test("a table that is not there, a view, and a table without a column or a key", async () => {
    const none = await add("");
    expect(none.stderr).toContain('there is no public.certs: create the tables with "certwatch migrate"');
    const view = await add("CREATE VIEW public.certs AS SELECT 'x'::text AS fingerprint_sha1");
    expect(view.stderr).toContain("public.certs is a view of an upstream system: make the change there");
    const narrow = await add(`CREATE TABLE public.certs (fingerprint_sha1 TEXT PRIMARY KEY, ${columns})`);
    expect(narrow.stderr).toContain("public.certs has no column serial, source, added_at: ");
    const rest = `${columns}, serial TEXT, source TEXT, added_at BIGINT`;
    const keyless = await add(`CREATE TABLE public.certs (fingerprint_sha1 TEXT, ${rest})`);
    expect(keyless.stderr).toContain("public.certs has no unique index on fingerprint_sha1");
    expect([none, view, narrow, keyless].map(({ status }) => status)).toEqual([1, 1, 1, 1]);

    const old = await add(`CREATE TABLE public.certs (fingerprint_sha1 TEXT PRIMARY KEY, ${rest})`);
    expect(old.stderr).toContain('"certwatch migrate --inventory" adds it');
    expect(old.stdout).toContain("1 certificate: 1 added");
    expect(old.status).toBe(0);
  });
});
