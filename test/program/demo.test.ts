import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterEach, expect, test } from "vitest";
import { NO_POSTGRES_OR_DSN, openPostgres } from "../support/postgres.ts";
import { endPrograms, runProgram, secrets, spawnProgram, withSecrets } from "../support/program.ts";
import { describeIfAvailable } from "../support/skip.ts";

afterEach(endPrograms);

test("certwatch demo tells its story and finds what it expects, whatever stands in the environment", async () => {
  const { code, output } = await runProgram(["demo"], {
    POSTGRES_DSN: `postgres://u:${secrets.dsnPassword}@nowhere.invalid/db`,
    WEBHOOK_URL: "http://nowhere.invalid/",
    SUSPICIOUS_GRACE_S: "3600",
  });
  expect(output).toContain("Exactly the expected events arrived.");
  expect(code).toBe(0);
  expect(output).toMatch(/\d+ messages read, 5 events delivered: 4 suspicious, 1 info\./);
  expect(output.match(/^ {2}(SUSPICIOUS|INFO) {2}\S/gm)).toHaveLength(5);
  expect(output).not.toContain("\u001b["); // no colours in a pipe
}, 90_000);

describeIfAvailable("npm run harness", NO_POSTGRES_OR_DSN, () => {
  const harness = fileURLToPath(new URL("../../dist/demo/harness.js", import.meta.url));
  let child: ChildProcess | undefined;
  afterEach(() => child?.kill());

  test("the three-terminal run: what it sends comes back as deliveries", async () => {
    const databases = await openPostgres();
    const dsn = await databases.createDatabase();
    child = spawn(process.execPath, [harness], {
      env: { PATH: process.env.PATH, POSTGRES_DSN: dsn, CT_PORT: "0", HOOK_PORT: "0" },
      stdio: ["ignore", "pipe", "inherit"],
    });
    let printed = "";
    const waiters = new Set<() => void>();
    child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      printed += text;
      for (const check of waiters) check();
    });
    const until = (pattern: RegExp) =>
      new Promise<string>((resolve) => {
        const check = () => {
          const found = pattern.exec(printed);
          if (found !== null) resolve(found[1] ?? found[0]);
        };
        waiters.add(check);
        check();
      });
    const feed = await until(/CERTSTREAM_URL=(\S+)\n/);
    const webhook = await until(/WEBHOOK_URL=(\S+)\n/);
    const program = spawnProgram(["run"], {
      POSTGRES_DSN: withSecrets(dsn, secrets.dsnPassword),
      CERTSTREAM_URL: feed,
      WEBHOOK_URL: webhook,
      API_PORT: "0",
      SUSPICIOUS_GRACE_S: "0.5",
    });
    await until(/WEBHOOK RX: .*"severity":"suspicious".*\n/);
    await until(/WEBHOOK RX: .*"severity":"info".*\n/);
    const received = [...printed.matchAll(/^WEBHOOK RX: (.*)$/gm)].map(([, body]) => JSON.parse(body!));
    expect(received.map(({ severity, matched_sans }) => [severity, matched_sans])).toEqual([
      ["info", ["known.harness.example.org"]],
      ["suspicious", ["unauthorized.harness.example.org"]],
    ]);
    expect(await program.stop()).toBe(0);
    child.kill();
    await databases.close();
  });

  test("without a database it says so: status 2", async () => {
    child = spawn(process.execPath, [harness], {
      env: { PATH: process.env.PATH },
      stdio: ["ignore", "ignore", "pipe"],
    });
    let stderr = "";
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    const code = await new Promise((resolve) => child!.once("close", resolve));
    expect([code, stderr]).toEqual([2, expect.stringContaining("POSTGRES_DSN is not set")]);
  });
});
