import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

// The table of log lines in docs/operations.md, held to the source. Messages are taken from the calls of `log`, which
// only ever get literals, or what `producers` and `fillers` name: certificates and servers stand in fields.

const root = fileURLToPath(new URL("../../", import.meta.url));
const read = (path: string) => readFileSync(root + path, "utf8");

/** A string or template literal: its fixed parts, and the expressions between them. */
interface Literal {
  fixed: string[];
  expressions: string[];
}

interface Message extends Literal {
  level: string;
  /** `src/service.ts: log.warn(problem)` */
  call: string;
}

/** Where a message is no literal: the function whose sentences it is one of. */
const producers: Record<string, { path: string; name: string }> = {
  problem: { path: "src/inventory/table-check.ts", name: "checkInventoryTable" },
};

/** What stands for an expression in a template, where that is a closed set; any other may be anything. */
const fillers: Record<string, () => string[]> = {
  concern: () =>
    [...read("src/service/stages.ts").matchAll(/\bonError\("([^"]+)"\)/g)].map(([, concern]) => concern!),
};

/** Where the string, template or comment that begins at `start` ends; `start` itself where none does. */
function endOfQuoted(code: string, start: number): number {
  if (code.startsWith("//", start)) return code.indexOf("\n", start);
  if (code.startsWith("/*", start)) return code.indexOf("*/", start) + 2;
  const quote = code[start]!;
  if (!`"'\``.includes(quote)) return start;
  let at = start + 1;
  while (code[at] !== quote) {
    if (at >= code.length) throw new Error(`no end of ${code.slice(start, start + 40)}`);
    if (code[at] === "\\") at += 2;
    else if (quote === "`" && code.startsWith("${", at)) at = endOfBracket(code, at + 1);
    else at += 1;
  }
  return at + 1;
}

/** The place behind the bracket that closes the one at `start`; tells `onComma` of the commas directly in it. */
function endOfBracket(code: string, start: number, onComma: (at: number) => void = () => {}): number {
  let depth = 0;
  for (let at = start; at < code.length; ) {
    const end = endOfQuoted(code, at);
    if (end > at) {
      at = end;
      continue;
    }
    if ("([{".includes(code[at]!)) depth += 1;
    if (")]}".includes(code[at]!)) depth -= 1;
    if (code[at] === "," && depth === 1) onComma(at);
    at += 1;
    if (depth === 0) return at;
  }
  throw new Error(`nothing closes ${code.slice(start, start + 40)}`);
}

/** The arguments of a call, as they stand there. */
function argumentsAt(code: string, openParenthesis: number): string[] {
  const cuts = [openParenthesis];
  const end = endOfBracket(code, openParenthesis, (at) => cuts.push(at));
  return cuts
    .map((cut, i) => code.slice(cut + 1, cuts[i + 1] ?? end - 1).trim())
    .filter((text) => text !== "");
}

/** The string and template literals in a piece of code, those in expressions of templates left out. */
function literalsIn(code: string): Literal[] {
  const found: Literal[] = [];
  for (let at = 0; at < code.length; ) {
    const end = endOfQuoted(code, at);
    if (end > at && code[at] !== "/") found.push(toLiteral(code.slice(at, end)));
    at = Math.max(end, at + 1);
  }
  return found;
}

function toLiteral(quoted: string): Literal {
  const literal: Literal = { fixed: [], expressions: [] };
  let start = 1;
  for (let at = 1; at < quoted.length - 1; ) {
    if (quoted[at] === "\\") at += 2;
    else if (quoted[0] === "`" && quoted.startsWith("${", at)) {
      const end = endOfBracket(quoted, at + 1);
      literal.fixed.push(unescaped(quoted.slice(start, at)));
      literal.expressions.push(quoted.slice(at + 2, end - 1).trim());
      start = end;
      at = end;
    } else at += 1;
  }
  literal.fixed.push(unescaped(quoted.slice(start, -1)));
  return literal;
}

const unescaped = (text: string) => text.replaceAll(/\\(.)/g, "$1");

const files = readdirSync(`${root}src`, { recursive: true, encoding: "utf8" })
  .map((path) => `src/${path.replaceAll("\\", "/")}`)
  .filter((path) => path.endsWith(".ts"))
  .sort();

/** Every message that the source can log, and what of the calls could not be understood. */
function messagesOfSource(): { messages: Message[]; riddles: string[] } {
  const messages: Message[] = [];
  const riddles: string[] = [];
  for (const path of files) {
    const code = read(path);
    for (const match of code.matchAll(/([\w\])?]+)\.(info|warn|error|fatal)\(/g)) {
      const [start, receiver, level] = match as unknown as [string, string, string];
      if (receiver === "console") continue;
      const last = argumentsAt(code, match.index + start.length - 1).at(-1) ?? "";
      const call = `${path}: ${start}${last})`;
      const producer = producers[last];
      const literals = producer === undefined ? literalsIn(last) : sentencesOf(producer);
      if (receiver !== "log" || last.startsWith("{") || literals.length === 0) riddles.push(call);
      else messages.push(...literals.map((literal) => ({ ...literal, level, call })));
    }
    if (/\blog(ger)?\??\.?\[/.test(code)) riddles.push(`${path}: a level that is computed`);
  }
  return { messages, riddles };
}

/** The literals in a function's body that read like sentences. */
function sentencesOf({ path, name }: { path: string; name: string }): Literal[] {
  const code = read(path);
  const head = code.indexOf(`function ${name}(`);
  const body = code.indexOf("{\n", head);
  return literalsIn(code.slice(body, endOfBracket(code, body))).filter(({ fixed }) =>
    fixed[0]!.includes(" "),
  );
}

/** What a message may look like: one pattern, or one for each of a closed set. */
function patternsOf({ fixed, expressions }: Literal): RegExp[] {
  const escaped = (text: string) => text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
  let patterns = [escaped(fixed[0]!)];
  for (const [i, expression] of expressions.entries()) {
    const values = fillers[expression]?.().map(escaped) ?? [".+"];
    patterns = patterns.flatMap((pattern) => values.map((value) => pattern + value + escaped(fixed[i + 1]!)));
  }
  return patterns.map((pattern) => new RegExp(`^${pattern}$`));
}

interface Row {
  level: string;
  message: string;
}

function rowsOfDocument(): Row[] {
  const [, section = ""] = /^## Log lines\n(.*?)^## /ms.exec(read("docs/operations.md")) ?? [];
  return section
    .split("\n")
    .filter((line) => line.startsWith("|") && !/^\|(---| level )/.test(line))
    .map((line) => {
      const [, level, message] = /^\| (info|warn|error|fatal) \| `([^`]+)` \| /.exec(line) ?? [];
      if (level === undefined || message === undefined) throw new Error(`not a row of log lines: ${line}`);
      return { level, message };
    });
}

const { messages, riddles } = messagesOfSource();
const rows = rowsOfDocument();

test("every call of the log is understood, and there are some", () => {
  expect(riddles).toEqual([]);
  expect(messages.length).toBeGreaterThan(25);
  expect(new Set(messages.map(({ level }) => level))).toEqual(new Set(["info", "warn", "error", "fatal"]));
  for (const [expression, values] of Object.entries(fillers)) expect(values(), expression).not.toEqual([]);
});

test("every line at level warn, error and fatal is in the table", () => {
  const missing = messages
    .filter(({ level }) => level !== "info")
    .flatMap((message) => patternsOf(message).map((pattern) => ({ ...message, pattern })))
    .filter(({ level, pattern }) => !rows.some((row) => row.level === level && pattern.test(row.message)))
    .map(({ level, pattern, call }) => `${level} ${pattern.source} (${call})`);
  expect(missing).toEqual([]);
});

test("every line in the table is in the source, at that level, and is there once", () => {
  const patterns = messages.flatMap((message) =>
    patternsOf(message).map((pattern) => ({ level: message.level, pattern })),
  );
  const unknown = rows.filter(
    ({ level, message }) => !patterns.some((one) => one.level === level && one.pattern.test(message)),
  );
  expect(unknown).toEqual([]);
  const texts = rows.map(({ level, message }) => `${level} ${message}`);
  expect(texts.filter((text, i) => texts.indexOf(text) !== i)).toEqual([]);
});
