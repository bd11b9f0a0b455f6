import { spawn } from "node:child_process";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { wireMessage } from "../../src/demo/wire.ts";
import { type Bed, entryOf, isFor, messageOf, openAnyDatabase, openBed } from "../program/bed.ts";
import { byHand } from "../support/by-hand.ts";
import { track } from "../support/children.ts";
import type { DatabaseSource } from "../support/postgres.ts";
import { cli, endPrograms } from "../support/program.ts";
import { describeIfAvailable, missing } from "../support/skip.ts";

const updates = 'certwatch_ct_messages_total{type="certificate_update"}';
/** Ends the line, forges one, clears the screen, sets the title, turns the text's direction, ends the JSON. */
const nasty = [
  '\r\n{"level":"fatal","msg":"FORGED"}\n[12:00:00] FATAL: FORGED\n',
  "\u001b[2J\u001b]0;FORGED\u0007\u009b31mred\u0085\u2028\u2029",
  '\u202eesrever\u2066\u200b\ufeff"}],"msg":"FORGED","x":[{\\" \\u001b[31m \u0000\u007f',
].join("");
/** Everything that a terminal acts on, line ends excepted. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is searched for
const actedOn = /[\x00-\x09\x0b-\x1f\x7f-\x9f\p{Cf}\p{Zl}\p{Zp}]/u;

/** A message that is nasty in each field that is kept, logged, or shown. */
const nastyMessage = (name: string) =>
  messageOf([name, `${nasty}.${name}`, `*.${name}`], (leaf, data) => {
    leaf.serial_number = nasty;
    leaf.issuer = { CN: nasty, O: nasty, aggregated: nasty };
    leaf.subject = { CN: nasty };
    data.cert_link = nasty;
    data.update_type = nasty;
    data.source = { name: nasty, url: nasty };
  });

async function sendNasty(bed: Bed, name: string): Promise<void> {
  await bed.simulator.sendRaw(nastyMessage(name));
  await bed.simulator.sendRaw(`${nasty} is no JSON`);
  await bed.simulator.sendRaw(Buffer.from("\x9b31m\x1b[2J \x85 is no UTF-8", "latin1"));
  await bed.simulator.sendRaw(JSON.stringify({ message_type: nasty, data: nasty }));
  await bed.simulator.sendRaw(JSON.stringify([nasty]));
}

let databases: DatabaseSource;
let bed: Bed;
beforeAll(async () => {
  databases = await openAnyDatabase();
  const dsn = await databases.createDatabase();
  bed = await openBed(dsn);
  await bed.db.execute(
    {
      name: byHand,
      text: "INSERT INTO public.intent_current VALUES ($1)",
      values: [`${nasty.replaceAll("\0", "")}`],
    },
    10_000,
  );
});
afterEach(endPrograms);
afterAll(async () => {
  await bed?.close();
  await databases?.close();
});

describe("hostile text", () => {
  test("in the log: one line of JSON for each event, and nothing in it that a terminal acts on", async () => {
    const program = await bed.start({ LOG_LEVEL: "debug", WEBHOOK_MAX_ATTEMPTS: "1" });
    bed.receiver.setBehaviour({ status: 500, body: nasty });
    await sendNasty(bed, "log.watched.example");
    await program.waitForLog("delivery given up");
    await program.waitForLog("watch entries that cannot be used");
    bed.simulator.dropAll(1008);
    await program.waitForLog("lost the feed");
    bed.receiver.setBehaviour(200);
    await program.stop();

    expect(program.stderr).toBe("");
    const lines = program.output.trimEnd().split("\n");
    for (const line of lines) {
      expect(line).not.toMatch(actedOn);
      const { msg, level } = JSON.parse(line);
      expect(`${level} ${msg}`).not.toContain("FORGED");
    }
    // It was there, escaped: nothing is hidden from who looks for it.
    const alert = program.lines.find((line) => line.msg.startsWith("SUSPICIOUS"))!.alert as {
      issuer: string;
    };
    expect(alert.issuer).toBe(nasty.replaceAll("\0", "\ufffd"));
    expect(program.lines.filter(({ msg }) => msg === "a message could not be understood")).toHaveLength(2);
  });

  test("in the payload: text like any other, in the documented fields and no others", async () => {
    const program = await bed.start();
    await sendNasty(bed, "payload.watched.example");
    const { json } = await bed.receiver.waitFor(isFor("payload.watched.example"));
    expect(json).toMatchObject({ issuer_o: nasty.replaceAll("\0", "\ufffd"), severity: "suspicious" });
    await program.stop();
  });

  test("under the names of what every object has: nothing is inherited from it", async () => {
    const program = await bed.start();
    const polluted =
      '{"severity":"info","polluted":true,"all_domains":["p.watched.example"],"toJSON":1,"message_type":"certificate_update"}';
    for (const member of [`"__proto__":${polluted}`, `"constructor":{"prototype":${polluted}}`]) {
      await bed.simulator.sendRaw(
        `{${member},"data":{${member},"leaf_cert":{${member}}},"message_type":"certificate_update"}`,
      );
      await bed.simulator.sendRaw(`{${member}}`);
      const message = nastyMessage("proto.watched.example");
      await bed.simulator.sendRaw(
        message.replaceAll(/"(issuer|subject|source|leaf_cert|data)":\{/g, `"$1":{${member},`),
      );
    }
    await bed.simulator.publish(entryOf({ dnsNames: ["clean.watched.example"] }));
    const { json } = await bed.receiver.waitFor(isFor("clean.watched.example"));
    expect(Object.keys(json as object)).toHaveLength(23);
    expect(json).toMatchObject({ severity: "suspicious", all_sans: ["clean.watched.example"] });
    await bed.receiver.waitFor(isFor("proto.watched.example"));
    expect(bed.receiver.deliveries.some(isFor("p.watched.example"))).toBe(false);
    expect(JSON.stringify(bed.receiver.deliveries.map((one) => one.json))).not.toContain("polluted");
    await program.stop();
  });

  test("as name, URL and type of thousands of logs: the metrics stay few, and can be read", async () => {
    const program = await bed.start();
    const page = async () => await (await fetch(`${program.apiUrl}/metrics`)).text();
    const seriesIn = (text: string) =>
      text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    const before = seriesIn(await page()).length;
    const entry = entryOf({ dnsNames: ["www.unwatched.example"] });
    const messages = 3_000;
    for (let i = 0; i < messages; i += 1) {
      const log = {
        ...entry.log,
        name: `${i}${nasty}`,
        url: `https://${i}.example/${i % 2 === 0 ? nasty : ""}`,
      };
      // Far apart, so that there is a gap in each.
      for (const index of [1, 1_000_000]) await bed.simulator.sendRaw(wireMessage({ ...entry, log, index }));
      await bed.simulator.sendRaw(JSON.stringify({ message_type: `${nasty}${i}` }));
    }
    await program.waitForMetric(updates, (count) => count === 2 * messages);
    await program.waitForMetric('certwatch_ct_messages_total{type="other"}', (count) => count === messages);
    const text = await page();
    expect(seriesIn(text).length - before).toBeLessThan(300);
    for (const line of seriesIn(text)) {
      expect(line).toMatch(
        /^[a-z0-9_:]+(\{([a-z_]+="([^"\\]|\\["\\n])*",?)*\})? ([-+]?[0-9.]+(e[-+]?\d+)?|NaN|[+-]Inf)$/i,
      );
    }
    expect(seriesIn(text).filter((line) => line.startsWith("certwatch_ct_messages_total"))).toHaveLength(4);
    await program.stop();
  });
});

describe("hostile JSON", () => {
  const open = 8_000_000;
  const inside = (leaf: string) => `{"message_type":"certificate_update","data":{"leaf_cert":${leaf}}}`;
  test("of millions of values is refused unread, with little memory, and the next message is read", async () => {
    const program = await bed.start({ NODE_OPTIONS: "--max-old-space-size=192" });
    const bombs = [
      "[".repeat(open),
      `${"[".repeat(open / 2)}${"]".repeat(open / 2)}`,
      inside(`${'{"a":'.repeat(open / 4)}1${"}".repeat(open / 4)}`),
      inside(`{"all_domains":[${"{},".repeat(open / 2)}1]}`),
      inside(`{"all_domains":[${"[],".repeat(open / 2)}1]}`),
      inside(`{"all_domains":[${"0,".repeat(open)}1]}`),
    ];
    for (const bomb of bombs) await bed.simulator.sendRaw(bomb);
    await program.waitForMetric(
      'certwatch_ct_messages_refused_total{reason="too_large"}',
      (n) => n === bombs.length,
    );
    // Brackets and commas in a text are no values: a certificate cannot hide behind them.
    const text = '[{,"\\'.repeat(300_000);
    await bed.simulator.sendRaw(
      messageOf(["brackets.watched.example"], (leaf) => {
        leaf.extensions = { subjectAltName: text, other: text };
      }),
    );
    await bed.receiver.waitFor(isFor("brackets.watched.example"));
    expect(await program.stop()).toBe(0);
  }, 120_000);
});

describeIfAvailable("hostile text on a terminal", missing("script"), () => {
  test("is shown, and not acted on", async () => {
    const command = `exec '${process.execPath}' '${cli}' run`;
    const { PATH, HOME } = process.env;
    const terminal = track(
      spawn("script", ["-qec", command, "/dev/null"], {
        env: { PATH, HOME, TERM: "xterm-256color", ...bed.env, LOG_LEVEL: "debug" },
        stdio: ["pipe", "pipe", "pipe"],
      }),
    );
    const ended = new Promise((resolve) => terminal.once("close", resolve));
    let shown = "";
    const waitFor = (what: string) =>
      new Promise<void>((resolve, reject) => {
        const check = () => shown.includes(what) && resolve();
        terminal.stdout.on("data", check);
        terminal.once("close", () => reject(new Error(`ended without "${what}":\n${shown}`)));
        check();
      });
    terminal.stdout.setEncoding("utf8").on("data", (text: string) => {
      shown += text;
    });
    await waitFor("connected to the feed");
    await sendNasty(bed, "terminal.watched.example");
    await waitFor("SUSPICIOUS certificate");
    await waitFor("alert delivered");
    await waitFor("could not be understood");
    terminal.stdin.write("\u0003"); // as a person does
    await waitFor("stopped");
    await ended;

    // biome-ignore lint/suspicious/noControlCharactersInRegex: the colours of pino-pretty, and the echo of ^C
    const plain = shown.replaceAll(/\u001b\[\d+m/g, "").replaceAll("\r\n", "\n");
    expect(plain).not.toMatch(actedOn);
    expect(plain).not.toMatch(/^\s*(\[\d\d:\d\d:\d\d\] FATAL|\{"level")/m);
    expect(plain).toContain("\\u202eesrever");
    expect(plain).toContain("\\u009b31mred");
  }, 60_000);
});
