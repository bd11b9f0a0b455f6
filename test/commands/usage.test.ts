import { expect, test } from "vitest";
import { runProgram } from "../support/program.ts";

test.each([
  [["inventory"]],
  [["inventory", "add"]],
  [["watch", "explain"]],
  [["alerts", "--severity", "bad"]],
  [["alerts", "--limit", "0"]],
  [["alerts", "--since", "yesterday"]],
  [["redeliver", "--since", "2026-13-01"]],
  [["inventory", "add", "--watch", "-"]],
  [["watch", "list"]],
  [["nonsense"]],
])("%j is a mistake in the command line or the configuration: status 2", async (args) => {
  const { status, stdout, stderr } = await runProgram(args, { POSTGRES_DSN: "" });
  expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
  expect(stderr).not.toMatch(/^ {4}at /m);
});

test.each([[["watch", "list"]], [["alerts"]], [["redeliver"]], [["inventory", "list"]], [["migrate"]]])(
  "%j with a database that cannot be reached: status 3, and what to look at",
  async (args) => {
    const { status, stdout, stderr } = await runProgram(args, {
      POSTGRES_DSN: "postgres://user:geheim@127.0.0.1:1/db",
    });
    expect({ status, stdout }).toEqual({ status: 3, stdout: "" });
    expect(stderr).toMatch(/^certwatch: the database: .*ECONNREFUSED.*POSTGRES_DSN right\?\n$/);
    expect(stderr).not.toContain("geheim");
  },
);

test.each([
  [["inventory", "add"]],
  [["inventory", "list"]],
  [["inventory", "remove"]],
  [["inventory", "fingerprint"]],
  [["watch", "add"]],
  [["watch", "list"]],
  [["watch", "remove"]],
  [["watch", "explain"]],
  [["alerts"]],
  [["redeliver"]],
  [["migrate"]],
  [["run"]],
])("%j has help with an example", async (args) => {
  const { status, stdout } = await runProgram([...args, "--help"]);
  expect(stdout).toMatch(new RegExp(`Examples:\n(.*\n)*.*certwatch ${args.join(" ")}`));
  expect(status).toBe(0);
});
