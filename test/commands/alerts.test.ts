import { beforeAll, beforeEach, expect, test } from "vitest";
import { claimDeliveries } from "../../src/alerts/sql/claim-deliveries.ts";
import type { Database } from "../../src/db/pool.ts";
import { byHand } from "../support/by-hand.ts";
import { describeOnEveryDatabase, openDatabase } from "../support/databases.ts";
import type { DatabaseSource } from "../support/postgres.ts";
import { runProgram } from "../support/program.ts";

const deadlineMs = 20_000;

/** Columns of a row in each state of its life, as SQL. */
const states = {
  pending:
    "severity = 'pending', recorded_at = now(), judge_at = now() + interval '10 s', next_attempt_at = now()",
  waiting: "severity = 'info', recorded_at = now(), next_attempt_at = now(), attempts = 1",
  delivered: "severity = 'info', recorded_at = now(), delivered = true, delivered_at = now(), attempts = 1",
  givenUp:
    "severity = 'suspicious', recorded_at = now() - interval '2 h', given_up_at = now() - interval '1 h', attempts = 3, expired_claims = 2, last_error = 'HTTP 500'",
  givenUpLongAgo:
    "severity = 'info', recorded_at = now() - interval '9 d', given_up_at = now() - interval '8 d', attempts = 3",
  observed: "severity = 'suspicious', recorded_at = now() - interval '3 h'",
  reference: "severity = 'suspicious', seen_at = 1700000000",
  referenceDelivered: "severity = 'info', seen_at = 1700000001, delivered = true",
};
type State = keyof typeof states;

describeOnEveryDatabase("alerts and redeliver", (open) => {
  let source: DatabaseSource;
  let dsn: string;
  let db: Database;
  const certwatch = (...args: string[]) => runProgram(args, { POSTGRES_DSN: dsn });
  const ids = new Map<number, State>();
  beforeAll(async () => {
    const opened = await openDatabase(open);
    ({ source, dsn, db } = opened);
    return opened.close;
  });
  beforeEach(async () => {
    await db.execute({ name: byHand, text: "DELETE FROM public.alerts" }, deadlineMs);
    ids.clear();
    for (const state of Object.keys(states) as State[]) {
      const [row] = await db.query<{ id: number }>(
        {
          name: byHand,
          text: `INSERT INTO public.alerts (fingerprint, sans, matched, issuer, seen_at)
                 VALUES ('ff', '["a.example"]', '["a.example"]', 'CA', EXTRACT(EPOCH FROM now())) RETURNING id`,
        },
        deadlineMs,
      );
      ids.set(row!.id, state);
      const reason = states[state].includes("recorded_at")
        ? ", match_basis = 'none', reason = 'because', payload = '{}'"
        : "";
      await db.execute(
        { name: byHand, text: `UPDATE public.alerts SET ${states[state]}${reason} WHERE id = ${row!.id}` },
        deadlineMs,
      );
    }
  });
  const listed = async (...args: string[]) => {
    const { stdout } = await certwatch("alerts", "--json", ...args);
    const lines = stdout.split("\n").filter((line) => line !== "");
    return lines.map((line) => JSON.parse(line) as { id: number; state: string; at: string });
  };
  const shown = async (...args: string[]) => (await listed(...args)).map(({ id }) => ids.get(id));
  const due = async () => {
    const claimed = await Promise.all(
      (["suspicious", "info"] as const).map((severity) =>
        claimDeliveries(db, { severity, limit: 100, maxBytes: 1e9, leaseSeconds: 3600, deadlineMs }),
      ),
    );
    return claimed.flat().map(({ id, attempts }) => [ids.get(id), attempts]);
  };

  test("alerts shows each in its state, the newest first", async () => {
    expect((await listed()).map(({ id, state }) => [ids.get(id), state])).toEqual([
      ["referenceDelivered", "delivered"],
      ["reference", "not delivered"],
      ["observed", "observed"],
      ["givenUpLongAgo", "given up"],
      ["givenUp", "given up"],
      ["delivered", "delivered"],
      ["waiting", "waiting"],
      ["pending", "in grace"],
    ]);
    expect((await listed("--limit", "2")).map(({ at }) => at)).toEqual([
      "2023-11-14T22:13:21.000Z",
      "2023-11-14T22:13:20.000Z",
    ]);
  });

  test("alerts filters by severity and time", async () => {
    expect(await shown("--severity", "suspicious")).toEqual(["reference", "observed", "givenUp"]);
    expect(await shown("--severity", "pending")).toEqual(["pending"]);
    expect(await shown("--since", "150m")).toEqual(["givenUp", "delivered", "waiting", "pending"]);
    expect(await shown("--since", "2023-11-14T22:13:21Z", "--severity", "info")).toContain(
      "referenceDelivered",
    );
    expect(await shown("--since", "2023-11-14T22:13:21Z")).not.toContain("reference");
  });

  test("alerts lists rows of any size, in pages", async () => {
    const all = await shown();
    const most = await shown("--limit", "7");
    for (const size of ["5000000", "9000000", "CASE WHEN id % 2 = 0 THEN 9000000 ELSE 1300 END"]) {
      await db.execute({ name: byHand, text: `UPDATE public.alerts SET row_bytes = ${size}` }, deadlineMs);
      expect([await shown(), await shown("--limit", "7")], size).toEqual([all, most]);
    }
  });

  test("alerts prints a table on which certificates have no power", async () => {
    await db.execute(
      {
        name: byHand,
        text: `UPDATE public.alerts SET issuer = E'\\x1b]0;x\\x07\\u009b2J', payload = '{"matched_sans": ["a.example\\u001b[8m"]}'
               WHERE given_up_at > now() - interval '2 h'`,
      },
      deadlineMs,
    );
    const { status, stdout, stderr } = await certwatch("alerts");
    expect(stdout).not.toMatch(/[^\P{Cc}\n]/u);
    const lines = stdout.trim().split("\n");
    expect(lines[0]).toMatch(/^ID +WHEN \(UTC\) +SEVERITY +STATE +NAMES +ISSUER +BASIS +REASON$/);
    expect(lines[5]).toMatch(
      /suspicious +given up +a\.example\\u001b\[8m +\\u001b\]0;x\\u0007\\u009b2J +none +\[HTTP 500\] because$/,
    );
    expect(lines).toHaveLength(9);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });

  test("redeliver makes what was given up due as if it were new, and nothing else", async () => {
    const dry = await certwatch("redeliver", "--dry-run");
    expect(dry.stdout).toBe("2 events would be delivered again: 1 suspicious, 1 info.\n");
    expect(await due()).toEqual([["waiting", 1]]);
    const { stdout, status } = await certwatch("redeliver");
    expect(stdout).toMatch(/^2 events due again: 1 suspicious, 1 info\. /);
    expect(status).toBe(0);
    expect(await due()).toEqual([
      ["givenUp", 0],
      ["givenUpLongAgo", 0],
    ]);
    const [left] = await db.query(
      {
        name: byHand,
        text: "SELECT count(*)::int AS n FROM public.alerts WHERE given_up_at IS NOT NULL OR expired_claims > 0",
      },
      deadlineMs,
    );
    expect(left).toEqual({ n: 0 });
    expect((await certwatch("redeliver")).stdout).toBe("Nothing to redeliver.\n");
  });

  test("redeliver --since goes by when it was given up", async () => {
    expect((await certwatch("redeliver", "--since", "90m")).stdout).toMatch(
      /^1 event due again: 1 suspicious\./,
    );
    expect(await due()).toEqual([
      ["givenUp", 0],
      ["waiting", 1],
    ]);
  });

  test("redeliver takes observed ones only when told to, and those of the reference never", async () => {
    expect((await certwatch("redeliver", "--include-observed", "--since", "4h")).stdout).toMatch(
      /^2 events due again: 2 suspicious\./,
    );
    await certwatch("redeliver", "--include-observed");
    expect((await due()).map(([state]) => state).sort()).toEqual([
      "givenUp",
      "givenUpLongAgo",
      "observed",
      "waiting",
    ]);
  });

  test("without certwatch's tables, both say how to make them", async () => {
    const bare = await source.createDatabase({ schema: false });
    for (const command of ["alerts", "redeliver"]) {
      const { status, stderr } = await runProgram([command], { POSTGRES_DSN: bare });
      expect(stderr).toMatch(
        /^certwatch: the database: .*public\.alerts.* Create the tables with "certwatch migrate"\n$/,
      );
      expect(status).toBe(3);
    }
  });
});
