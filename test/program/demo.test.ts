import { fileURLToPath } from "node:url";
import { afterEach, expect, test } from "vitest";
import { NO_POSTGRES_OR_DSN, openPostgres } from "../support/postgres.ts";
import { endPrograms, runProgram, spawnProgram } from "../support/program.ts";
import { secrets, withSecrets } from "../support/secrets.ts";
import { describeIfAvailable } from "../support/skip.ts";

afterEach(endPrograms);

test("certwatch demo tells its story and finds what it expects, whatever stands in the environment", async () => {
  const { status, output } = await runProgram(["demo"], {
    POSTGRES_DSN: `postgres://u:${secrets.dsnPassword}@nowhere.invalid/db`,
    WEBHOOK_URL: "http://nowhere.invalid/",
    SUSPICIOUS_GRACE_S: "3600",
  });
  expect(output).toContain("Exactly the expected events arrived.");
  expect(status).toBe(0);
  expect(output).toMatch(/\d+ messages read, 5 events delivered: 4 suspicious, 1 info\./);
  expect(output.match(/^ {2}(SUSPICIOUS|INFO) {2}\S/gm)).toHaveLength(5);
  expect(output).not.toContain("\u001b["); // no colours in a pipe
}, 90_000);

describeIfAvailable("npm run harness", NO_POSTGRES_OR_DSN, () => {
  const script = fileURLToPath(new URL("../../dist/demo/harness.js", import.meta.url));
  test("the three-terminal run: what it sends comes back as deliveries", async () => {
    const databases = await openPostgres();
    const dsn = await databases.createDatabase();
    const env = { POSTGRES_DSN: dsn, CT_PORT: "0", HOOK_PORT: "0" };
    const harness = spawnProgram([], env, { script });
    const [, feed] = await harness.waitForOutput(/CERTSTREAM_URL=(\S+)\n/);
    const [, webhook] = await harness.waitForOutput(/WEBHOOK_URL=(\S+)\n/);
    const program = spawnProgram(["run"], {
      POSTGRES_DSN: withSecrets(dsn, secrets.dsnPassword),
      CERTSTREAM_URL: feed,
      WEBHOOK_URL: webhook,
      API_PORT: "0",
      SUSPICIOUS_GRACE_S: "0.5",
    });
    await harness.waitForOutput(/WEBHOOK RX: .*"severity":"suspicious".*\n/);
    await harness.waitForOutput(/WEBHOOK RX: .*"severity":"info".*\n/);
    const received = [...harness.stdout.matchAll(/^WEBHOOK RX: (.*)$/gm)].map(([, body]) =>
      JSON.parse(body!),
    );
    expect(received.map(({ severity, matched_sans }) => [severity, matched_sans])).toEqual([
      ["info", ["known.harness.example.org"]],
      ["suspicious", ["unauthorized.harness.example.org"]],
    ]);
    expect(await program.stop()).toBe(0);
    await harness.stop();
    await databases.close();
  });

  test("without a database it says so: status 2", async () => {
    const { status, stderr } = await runProgram([], {}, { script });
    expect([status, stderr]).toEqual([2, expect.stringContaining("POSTGRES_DSN is not set")]);
  });
});
