import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterEach, expect, test, vi } from "vitest";
import { RateLimitedLog } from "../src/log.ts";

const logModule = fileURLToPath(new URL("../dist/log.js", import.meta.url));

/** Runs a program of one line that has a logger `log`, with standard output as a pipe. */
function run(level: string, program: string): Record<string, unknown>[] {
  const code = `import { createLogger } from ${JSON.stringify(logModule)}; const log = createLogger("${level}"); ${program}`;
  const { stdout } = spawnSync(process.execPath, ["--input-type=module", "-e", code], { encoding: "utf8" });
  return stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
}

test("lines are JSON with level, ISO time and message, and hostile text stays inside its field", () => {
  const [line, ...more] = run(
    "info",
    String.raw`log.warn({ name: "a\n{\"level\":\"fatal\"}\u001b[31m" }, "message")`,
  );
  expect(more).toEqual([]);
  expect(line).toEqual({
    level: "warn",
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    name: 'a\n{"level":"fatal"}\u001b[31m',
    msg: "message",
  });
});

test("the last line before the end of the process is there, and the level is obeyed", () => {
  const lines = run(
    "warn",
    'log.info("no"); for (let i = 0; i < 1000; i++) log.error({ i }, "x"); process.exit(1)',
  );
  expect(lines.map(({ i }) => i)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
});

test("lines do not wait for the end of the process: a kill shortly after leaves them all", () => {
  const lines = run(
    "info",
    'for (let i = 0; i < 1000; i++) log.info({ i }, "x"); setTimeout(() => process.kill(process.pid, "SIGKILL"), 500)',
  );
  expect(lines.map(({ i }) => i)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
});

afterEach(() => void vi.restoreAllMocks());
/** Sets the clock that intervals go by. */
const setClock = (ms: number) => vi.spyOn(performance, "now").mockReturnValue(ms);

test("one line for each kind and interval, and the next says how many were left out", () => {
  const written: [string, number][] = [];
  const log = new RateLimitedLog(100);
  setClock(1_000);
  const once = (kind: string) => log.once(kind, (suppressed) => written.push([kind, suppressed]));
  for (const kind of ["a", "a", "b", "a"]) once(kind);
  expect(written).toEqual([
    ["a", 0],
    ["b", 0],
  ]);
  setClock(1_150);
  once("a");
  once("b");
  expect(written.slice(2)).toEqual([
    ["a", 2],
    ["b", 0],
  ]);
});

test("by default the interval is a minute", () => {
  const log = new RateLimitedLog();
  const at = (ms: number) => {
    setClock(1_000 + ms);
    let written = false;
    log.once("kind", () => {
      written = true;
    });
    return written;
  };
  expect([0, 59_900, 60_100, 119_900, 120_200].map(at)).toEqual([true, false, true, false, true]);
});
