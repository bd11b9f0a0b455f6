import fc from "fast-check";
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { explainMatch } from "../../src/commands/watch/explain.ts";
import type { Database } from "../../src/db/pool.ts";
import { buildWatchList } from "../../src/watchlist/matcher.ts";
import { arbitraryEntries, arbitraryName } from "../support/arbitrary-names.ts";
import { byHand } from "../support/by-hand.ts";
import { describeOnEveryDatabase, openDatabase } from "../support/databases.ts";
import { runProgram } from "../support/program.ts";

const deadlineMs = 20_000;

describe("explainMatch", () => {
  test.each([
    ["example.org", "example.org", "it is the entry itself"],
    ["EXAMPLE.org.", "example.org", "it is the entry itself"],
    ["a.b.example.org", "example.org", "it is a name below the entry"],
    ["*.example.org", "example.org", "the wildcard stands for every name directly below the entry"],
    [
      "*.a.example.org",
      "example.org",
      "the wildcard stands for names below a.example.org, which is below the entry",
    ],
    [
      "*.example.org",
      "a.example.org",
      "the wildcard is valid for the entry, which is one label below example.org",
    ],
    ["example.org\0.evil.com", "example.org", "it contains the name example.org; it is the entry itself"],
    [
      "https://www.example.org/login",
      "example.org",
      "it contains the name www.example.org; it is a name below the entry",
    ],
    ["bücher.example", "xn--bcher-kva.example", "it is the entry itself"],
  ])("%j matches %j: %s", async (san, entry, why) => {
    const { watchList } = await buildWatchList([entry, "other.example"]);
    expect(watchList.match(san)).toEqual([entry]);
    expect(explainMatch(san, entry)).toEqual({ entry, why });
  });

  test("has a reason for every match that there is", async () => {
    await fc.assert(
      fc.asyncProperty(arbitraryEntries, arbitraryName, async (entries, san) => {
        const { watchList } = await buildWatchList(entries);
        for (const entry of watchList.match(san)) {
          expect(explainMatch(san, entry).why).toMatch(/the entry/);
        }
      }),
    );
  });
});

describeOnEveryDatabase("watch", (open) => {
  let dsn: string;
  let db: Database;
  const certwatch = (...args: string[]) => runProgram(["watch", ...args], { POSTGRES_DSN: dsn });
  beforeAll(async () => {
    const opened = await openDatabase(open);
    ({ dsn, db } = opened);
    return opened.close;
  });
  beforeEach(async () => {
    await db.execute({ name: byHand, text: "DELETE FROM public.intent_current" }, deadlineMs);
  });
  const insert = (...fqdns: (string | null)[]) =>
    db.execute(
      { name: byHand, text: "INSERT INTO public.intent_current SELECT unnest($1::text[])", values: [fqdns] },
      deadlineMs,
    );
  const fqdns = async () => {
    const sql = { name: byHand, text: "SELECT fqdn FROM public.intent_current ORDER BY 1" };
    return (await db.query<{ fqdn: string }>(sql, deadlineMs)).map(({ fqdn }) => fqdn);
  };

  test("add stores normalized entries, once, and refuses what cannot be watched", async () => {
    const first = await certwatch("add", " *.Bücher.example. ", "a.example", "A.example", "com", "192.0.2.1");
    expect(await fqdns()).toEqual(["a.example", "xn--bcher-kva.example"]);
    expect(first.stdout).toBe(
      "added xn--bcher-kva.example, covers xn--bcher-kva.example and every name below it\n" +
        "added a.example, covers a.example and every name below it\n",
    );
    expect(first.stderr).toBe(
      'refused "com": it has only one label\nrefused "192.0.2.1": it is an IP address\n',
    );
    const second = await certwatch("add", "a.example", "x.a.example");
    expect(second.stdout).toBe(
      "already there: a.example, covers a.example and every name below it\n" +
        "added x.a.example, covers x.a.example and every name below it (so does a.example, which is on the list too)\n",
    );
    expect([first.status, second.status]).toEqual([1, 0]);
  });

  test("list says which rows cannot be used", async () => {
    await insert("*.B.example", "a.example", "no\u001bne", null);
    const { stdout } = await certwatch("list", "--json");
    expect(
      stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line)),
    ).toEqual([
      {
        fqdn: "no\u001bne",
        entry: null,
        problem: "has a character other than letters, digits, hyphen, underscore and dot",
      },
      { fqdn: "a.example", entry: "a.example", problem: null },
      { fqdn: "*.B.example", entry: "b.example", problem: null },
    ]);
    expect((await certwatch("list")).stdout).toMatch(
      /^ROW .*\nno\\u001bne +not used: it has a character .*\na\.example +a\.example\n\*\.B\.example +b\.example\n$/,
    );
  });

  test("remove finds an entry in any spelling, and rows that cannot be used", async () => {
    await insert("*.B.example", "b.example", "example", "x.b.example");
    const { status, stdout, stderr } = await certwatch("remove", "B.EXAMPLE", "example", "gone.example");
    expect(await fqdns()).toEqual(["x.b.example"]);
    expect(stdout).toBe(
      "removed *.B.example; x.b.example still covers it\nremoved b.example\nremoved example\n",
    );
    expect(stderr).toBe('not on the watch list: "gone.example"\n');
    expect(status).toBe(1);
  });

  test("explain exits with 0 where an entry matches, with 1 where none does", async () => {
    await insert("example.org", "foo.example.org", "com");
    const hit = await certwatch("explain", "*.example.org");
    expect(hit.stdout).toBe(
      "A certificate for *.example.org matches example.org: the wildcard stands for every name directly below the entry.\n" +
        "A certificate for *.example.org matches foo.example.org: the wildcard is valid for the entry, which is one label below example.org.\n",
    );
    expect(hit.stderr).toContain("1 row of the watch list cannot be used");
    const miss = await certwatch("explain", "notexample.org");
    expect(miss.stdout).toBe(
      "A certificate for notexample.org matches nothing: none of 2 entries covers it.\n",
    );
    const json = await certwatch("explain", "www.example.org", "--json");
    expect(JSON.parse(json.stdout)).toEqual({
      san: "www.example.org",
      matches: [{ entry: "example.org", why: "it is a name below the entry" }],
    });
    expect([hit.status, miss.status, json.status]).toEqual([0, 1, 0]);
  });

  test("a view is read, but not written", async () => {
    await db.execute(
      {
        name: byHand,
        text: `ALTER TABLE public.intent_current RENAME TO intents;
               CREATE VIEW public.intent_current AS SELECT * FROM public.intents`,
      },
      deadlineMs,
    );
    expect(await certwatch("explain", "a.example")).toMatchObject({ status: 1, stderr: "" });
    for (const verb of ["add", "remove"]) {
      const { status, stderr } = await certwatch(verb, "a.example");
      expect(stderr).toContain(
        "public.intent_current is a view of an upstream system: make the change there",
      );
      expect(status).toBe(1);
    }
  });
});
