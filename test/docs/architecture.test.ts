import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

// The drawings of docs/architecture.md, held to what they draw.

const root = fileURLToPath(new URL("../../", import.meta.url));
const page = readFileSync(`${root}docs/architecture.md`, "utf8");

interface Room {
  name: string;
  is: string;
}

const { rooms } = (await import(`${root}.dependency-cruiser.mjs`)) as { rooms: Room[] };

/** The lines of the first drawing under a heading. */
function drawingUnder(heading: string): string[] {
  const section = page.split(/^(?=## )/m).find((text) => text.startsWith(`## ${heading}\n`)) ?? "";
  const [, drawing = ""] = /^```mermaid\n(.*?)^```/ms.exec(section) ?? [];
  return drawing
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}

test("the drawing has the rooms of the import rules, from the top to the ground", () => {
  const [kind, ...lines] = drawingUnder("The rooms");
  expect(kind).toBe("flowchart TB");
  const drawn = lines.flatMap((line) => {
    const [, id, name, is] = /^(\w+)\["(\w+)<br\/>(.+)"\]$/.exec(line) ?? [];
    return id === undefined ? [] : [{ id, name, is }];
  });
  expect(drawn).toEqual(rooms.map(({ name, is }) => ({ id: name, name, is })));
  const arrows = lines.filter((line) => line.includes("->"));
  expect(arrows).toEqual([rooms.map(({ name }) => name).join(" --> ")]);
  expect(drawn.length + arrows.length, "every line of the drawing is a room or the arrows").toBe(
    lines.length,
  );
});

test("every state in the table is in the drawing, and the other way round", () => {
  const lines = drawingUnder("The life of an alert");
  const names = new Map(
    lines.flatMap((line) => {
      const [, name, id] = /^state "(.+)" as (\w+)$/.exec(line) ?? [];
      return id === undefined ? [] : [[id, name!] as const];
    }),
  );
  const drawn = lines.flatMap((line) => /^(\S+) --> (\S+) ?/.exec(line)?.slice(1) ?? []);
  const states = new Set(drawn.filter((id) => id !== "[*]").map((id) => names.get(id) ?? id));
  const [, table = ""] = /^\| state \|.*\n\|---.*\n((?:\|.*\n)+)/m.exec(page) ?? [];
  const rows = [...table.matchAll(/^\| ([^|]+) \|/gm)].map(([, state]) => state!);
  expect(rows.length).toBeGreaterThan(5);
  expect([...states].sort()).toEqual([...rows].sort());
});

test("every file that the page names is there", () => {
  const paths = [...page.matchAll(/`((?:src|test|bench|docs|deploy|\.ci)\/[\w./-]*)`/g)].map(
    ([, path]) => path!,
  );
  expect(paths.length).toBeGreaterThan(20);
  expect(paths.filter((path) => !existsSync(root + path))).toEqual([]);
});
