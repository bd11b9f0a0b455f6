import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { describeIfAvailable } from "../support/skip.ts";

const client = fileURLToPath(new URL("./support/reach-far-name.mjs", import.meta.url));

function noOwnHostsFile(): string | undefined {
  try {
    execFileSync("unshare", ["-m", "mount", "--bind", "/etc/hosts", "/etc/hosts"], { stdio: "pipe" });
    return undefined;
  } catch {
    return "no right to give a process a hosts file of its own";
  }
}

describeIfAvailable("a name of two addresses, with handshakes of a second", noOwnHostsFile(), () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "certwatch-hosts-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test("feed, receiver and Postgres are reached at the one that works", () => {
    const hosts = join(folder, "hosts");
    writeFileSync(hosts, "127.0.0.1 localhost\n127.0.0.1 far.test\n::1 far.test\n"); // nothing listens on ::1
    const script = `mount --bind "$1" /etc/hosts && exec "$2" "$3"`;
    const args = ["-m", "bash", "-c", script, "bash", hosts, process.execPath, client];
    const reached = JSON.parse(execFileSync("unshare", args, { encoding: "utf8" }));
    const all = {
      webhook: { kind: "delivered" },
      feed: "open",
      postgres: "Connection terminated unexpectedly",
    };
    expect(reached).toEqual(all);
  });
});
