import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { cli } from "../support/program.ts";
import { describeIfAvailable } from "../support/skip.ts";

/** Runs `node` of this version, as npm offers it. */
const nodeOf = (version: string, ...args: string[]) =>
  spawnSync("npx", ["--yes", "-p", `node@${version}`, "--", "node", ...args], { encoding: "utf8" });

const missing = nodeOf("18", "--version").status === 0 ? undefined : "no Node.js 18 to be had from npm";

describe("the oldest Node.js", () => {
  test("that the program accepts is the one that package.json asks for", () => {
    const { engines } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
    const source = readFileSync(new URL("../../src/cli.ts", import.meta.url), "utf8");
    const [, major, minor] = /oldest = \{ major: (\d+), minor: (\d+) \}/.exec(source)!;
    expect(engines.node).toBe(`>=${major}.${minor}`);
  });
});

describeIfAvailable("Node.js 18", missing, () => {
  test.each([["--version"], ["run"], ["watch", "list"]])("is told what certwatch needs: %s", (...args) => {
    const { status, stdout, stderr } = nodeOf("18", cli, ...args);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(/^certwatch needs Node\.js 20\.19 or later, this is 18\.\d+\.\d+\n$/);
  });
});
