import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release, totalmem, type } from "node:os";
import { join } from "node:path";
import { projectFolder } from "../support/children.ts";
import { plotSvg } from "../support/plot.ts";
import { type Measured, scale } from "./curve.ts";

const folder = join(projectFolder, "docs", "performance");
const file = join(folder, "growth.md");

const introduction = `# Cost as work grows

Written by \`npm run bench:growth -- --write-docs\`. It measures the compiled service in a process of its own; CPU time is that
of the whole process, from the kernel's scheduler. Figures are medians, with the range of the middle half in brackets (in the
plots: the line through a point). [performance.md](../performance.md) says more.
`;

/** Writes the plots, and puts the section into growth.md, in the place of the one with its heading if there is one. */
export function writeSection(measured: Measured): void {
  mkdirSync(folder, { recursive: true });
  for (const { file: name, plot } of measured.plots) writeFileSync(join(folder, name), plotSvg(plot));
  const [, ...existing] = existsSync(file) ? readFileSync(file, "utf8").split(/^(?=## )/m) : [""];
  const section = sectionOf(measured);
  const isSame = (other: string) => other.startsWith(`## ${measured.heading}\n`);
  const sections = existing.some(isSame)
    ? existing.map((other) => (isSame(other) ? section : other))
    : [...existing, section];
  writeFileSync(file, [introduction, ...sections].map((part) => `${part.trimEnd()}\n`).join("\n"));
}

function sectionOf({ heading, text, columns, rows, plots }: Measured): string {
  const line = (cells: string[]) => `| ${cells.join(" | ")} |`;
  const parts = [
    `## ${heading}`,
    ...plots.map(({ file: name, plot }) => `![${plot.title}](${name})`),
    text,
    [line(columns), line(columns.map((_, i) => (i === 0 ? "---" : "---:"))), ...rows.map(line)].join("\n"),
    machine(),
  ];
  return parts.join("\n\n");
}

/** Where and when, in one line. */
function machine(): string {
  const memoryGb = (totalmem() / 1e9).toFixed();
  const shrunken = scale === 1 ? "" : ` **Tried out with SCALE=${scale}: not to be relied on.**`;
  return `${new Date().toISOString().slice(0, 10)}: ${cpus().length} x ${cpus()[0]?.model.trim()}, ${memoryGb} GB, ${type()} ${release()}, Node.js ${process.version}, load ${loadavg()[0]!.toFixed(1)} at the end.${shrunken}`;
}
