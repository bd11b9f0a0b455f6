import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpus, loadavg } from "node:os";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { isMissed, lineOf, type Result } from "./support/report.ts";

/*
 * `npm run bench`: every benchmark in a process of its own, one after the other, each result beside its bar.
 * `npm run bench -- feed memory`: these only. `growth` takes a quarter of an hour and is held against nothing, so it runs
 * only when it is named (`--write-docs` is handed on to it). `--json`: all results as one JSON document. Exit status 0 also when a
 * bar is missed, 1 when a benchmark fails.
 */

const usual = ["feed", "memory", "refresh", "alerts", "latency", "start", "drops", "micro"];
const benchmarks = [...usual, "growth"];

const handedOn = process.argv.filter((argument) => argument === "--write-docs");
const asJson = process.argv.includes("--json");
const named = process.argv.slice(2).filter((argument) => !argument.startsWith("-"));
const unknown = named.filter((name) => !benchmarks.includes(name));
if (unknown.length > 0) {
  console.error(`there is no benchmark ${unknown.join(", ")}; there are ${benchmarks.join(", ")}`);
  process.exit(2);
}

const results: Result[] = [];
const failed: string[] = [];
for (const name of named.length > 0 ? named : usual) {
  const file = fileURLToPath(new URL(`./${name}.js`, import.meta.url));
  const child = spawn(process.execPath, [file, "--json", ...handedOn], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  createInterface({ input: child.stdout }).on("line", (line) => {
    const result = JSON.parse(line) as Result;
    results.push(result);
    if (!asJson) console.log(lineOf(result));
  });
  const [code] = await once(child, "close");
  if (code !== 0) failed.push(name);
}

const machine = `${cpus().length} x ${cpus()[0]?.model}, Node.js ${process.version}, load ${loadavg()[0]!.toFixed(1)}`;
const missed = results.filter(isMissed).length;
if (asJson) {
  console.log(JSON.stringify({ machine, results, failed }, null, 2));
} else {
  console.log(`\n${missed === 0 ? "every bar met" : `${missed} MISSED`}; ${machine}`);
}
for (const name of failed) console.error(`the benchmark ${name} failed`);
process.exitCode = failed.length > 0 ? 1 : 0;
