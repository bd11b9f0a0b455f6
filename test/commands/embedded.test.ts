import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createAuthority } from "../../src/demo/certificates.ts";
import { embeddedDir } from "../support/embedded.ts";
import { pem } from "../support/pem.ts";
import { runProgram, spawnProgram } from "../support/program.ts";

const authority = createAuthority({ commonName: "Example CA" });
const issue = (name: string) => pem(authority.issue({ dnsNames: [name] }).certificateDer);

let dataDir: string;
beforeAll(async () => {
  dataDir = await embeddedDir();
});
afterAll(() => rm(dataDir, { recursive: true }));
const certwatch = (args: string[], input?: string) =>
  runProgram([...args, "--embedded"], { DATA_DIR: dataDir }, { input });

test("commands work on the embedded database while no service runs, and while one does", async () => {
  const alone = await certwatch(["inventory", "add", "-"], issue("alone.example"));
  expect(alone).toMatchObject({ status: 0, stdout: expect.stringContaining("1 added"), stderr: "" });
  expect(await certwatch(["watch", "add", "a.example"])).toMatchObject({ status: 0 });

  const service = spawnProgram(["run", "--embedded"], {
    DATA_DIR: dataDir,
    CERTSTREAM_URL: "ws://127.0.0.1:1/",
    API_PORT: "0",
  });
  try {
    await service.waitForOutput(/certwatch is watching/);
    const beside = await certwatch(["inventory", "add", "-"], issue("beside.example"));
    expect(beside).toMatchObject({ status: 0, stdout: expect.stringContaining("1 added"), stderr: "" });
    const list = await certwatch(["inventory", "list"]);
    expect(list.stdout).toMatch(/alone\.example[\s\S]*beside\.example/);
    expect(await certwatch(["watch", "explain", "www.a.example"])).toMatchObject({ status: 0 });
    expect(await certwatch(["alerts"])).toMatchObject({ status: 0, stdout: "No alerts.\n" });
    expect(await certwatch(["redeliver"])).toMatchObject({ status: 0, stdout: "Nothing to redeliver.\n" });
    expect(await certwatch(["migrate"])).toMatchObject({ status: 0 });
    expect(await certwatch(["migrate", "--inventory"])).toMatchObject({ status: 0 });
  } finally {
    expect(await service.stop()).toBe(0);
  }
});

test("a command that only reads makes no database where there is none", async () => {
  const parent = mkdtempSync(join(tmpdir(), "certwatch-none-"));
  try {
    const folder = join(parent, "data");
    for (const args of [["alerts"], ["redeliver"], ["watch", "list"], ["inventory", "list"]]) {
      const { status, stderr } = await runProgram([...args, "--embedded"], { DATA_DIR: folder });
      expect(stderr).toContain(`there is no embedded database in ${folder}: set DATA_DIR`);
      expect(status).toBe(3);
    }
    expect(existsSync(folder)).toBe(false);
  } finally {
    rmSync(parent, { recursive: true });
  }
});

test("--embedded together with POSTGRES_DSN is a mistake", async () => {
  const { status, stderr } = await runProgram(["alerts", "--embedded"], { POSTGRES_DSN: "postgres://h/d" });
  expect(stderr).toContain("remove one of the two");
  expect(status).toBe(2);
});
