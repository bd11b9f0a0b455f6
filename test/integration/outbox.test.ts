import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { CertUpdate } from "../../src/feed/message.ts";
import { identify } from "../../src/issuance/identity.ts";
import { describeOnEveryDatabase } from "../support/databases.ts";
import {
  delegate,
  mergedCertificates,
  oneStep,
  openReplicas,
  Replica,
  startAfresh,
} from "../support/outbox.ts";
import { type Cluster, NO_POSTGRES, startCluster } from "../support/postgres.ts";
import { describeIfAvailable } from "../support/skip.ts";
import {
  argon,
  final,
  insertInventory,
  inventoryRow,
  matchOf,
  oak,
  ours,
  precertificate,
  theirs,
} from "../support/updates.ts";
import { patienceMs, waitUntil } from "../support/wait.ts";

const hijackOf = (...dnsNames: string[]) => theirs.issue({ dnsNames });
const someFinal = (name = "example.org") => final(hijackOf(name));
/** The JSON alone: with DER beside it nobody would look at it. */
const withoutDer = (update: CertUpdate): CertUpdate => ({ ...update, asDerBase64: null });

/** Waits until the replica has recorded so many certificates; `again` is done before each look. */
async function untilRecorded(replica: Replica, wanted: number, again = () => {}): Promise<void> {
  const recorded = () => {
    again();
    return replica.recorded.length;
  };
  await waitUntil("a certificate to be recorded", recorded, (count) => count === wanted);
}

describeOnEveryDatabase("recording", (open) => {
  let replica: Replica;
  let other: Replica;
  beforeAll(async () => {
    const opened = await openReplicas(open);
    ({ replica, other } = opened);
    return opened.close;
  });
  beforeEach(() => startAfresh(replica, other));

  const count = () => replica.value<number>("SELECT count(*) FROM public.alerts");

  test("a row says what the feed said, and is pending", async () => {
    const update = precertificate(hijackOf("example.org", "www.example.org"));
    await replica.record([update], { graceSeconds: 60 });
    const [row] = await replica.query(
      `SELECT fingerprint, sans, matched, issuer, seen_at, delivered, severity, last_error,
              judge_at - recorded_at = '60 s' AS grace, payload ->> 'serial' AS serial FROM public.alerts`,
    );
    expect(row).toEqual({
      fingerprint: update.fingerprintSha1,
      sans: ["example.org", "www.example.org"],
      matched: ["example.org"],
      issuer: "/CN=Obliging CA R1/O=Obliging CA Ltd",
      seen_at: Math.floor(update.seenEpochSeconds!),
      delivered: false,
      severity: "pending",
      last_error: null,
      grace: true,
      serial: update.serial,
    });
  });

  test("the certificate is kept while it is pending or suspicious, up to 64 kB", async () => {
    const [hijack, renewal] = [hijackOf("example.org"), ours.issue({ dnsNames: ["example.org"] })];
    const large = hijackOf(
      "example.org",
      ...Array.from({ length: 1_500 }, (_, i) => `${"n".repeat(40)}${i}.test`),
    );
    await insertInventory(replica.db, inventoryRow(renewal));
    const updates = [final(hijack), final(renewal), final(large)];
    await replica.record(updates);
    const kept = () =>
      replica
        .query<{ der: Buffer | null }>("SELECT der FROM public.alerts ORDER BY id")
        .then((rows) => rows.map(({ der }) => der?.toString("base64") ?? null));
    const [hijackDer, renewalDer, largeDer] = updates.map(({ asDerBase64 }) => asDerBase64);
    expect(Buffer.from(largeDer!, "base64").length).toBeGreaterThan(65_536);
    expect((await kept()).sort()).toEqual([hijackDer, renewalDer, null].sort());
    await replica.judge();
    expect((await kept()).sort()).toEqual([hijackDer, null, null].sort());
  });

  test("more than one batch is recorded whole, and reported once", async () => {
    const template = withoutDer(someFinal());
    const updates = Array.from({ length: 1200 }, (_, i) => ({
      ...template,
      fingerprintSha1: i.toString(16).padStart(40, "0"),
    }));
    await replica.record([...updates, ...updates]);
    expect(await replica.value("SELECT count(DISTINCT fingerprint) FROM public.alerts")).toBe(1200);
    expect(replica.recorded).toHaveLength(1200);
    expect(await replica.metric("alerts_waiting")).toBe(0);
  });

  describe("the same certificate again is silent", () => {
    test("in one batch, from memory, from the database, and by another replica", async () => {
      const hijack = hijackOf("example.org");
      const recorder = replica.recorder();
      const add = (update: CertUpdate) => recorder.add(update, matchOf(update));
      recorder.loop.start();
      add(final(hijack));
      add(final(hijack, { log: oak }));
      await untilRecorded(replica, 1);
      add(final(hijack, { log: argon, server: "rust" }));
      expect(recorder.waiting).toBe(0);
      expect(await recorder.drain(patienceMs)).toBe(0);
      await replica.record([final(hijack)]);
      await other.record([final(hijack, { feed: "lite" })]);
      expect(await count()).toBe(1);
      expect([replica.recorded.length, other.recorded.length]).toEqual([1, 0]);
    });

    test("when both replicas record it at the same moment", async () => {
      const template = withoutDer(someFinal());
      const updates = Array.from({ length: 800 }, (_, i) => ({
        ...template,
        fingerprintSha1: i.toString(16).padStart(40, "0"),
      }));
      // In rounds: on a busy machine a larger statement may miss its deadline, and its rows are not reported as new then.
      for (let start = 0; start < updates.length; start += 200) {
        const round = updates.slice(start, start + 200);
        await Promise.all([replica.record(round), other.record([...round].reverse())]);
      }
      expect(await count()).toBe(800);
      expect(replica.recorded.length + other.recorded.length).toBe(800);
      // Each held rows that the other one waited for, but never both.
      expect([...replica.errors, ...other.errors]).toEqual([]);
    });

    test("after it was merged into the event of its issuance, while its neighbours are recorded", async () => {
      const hijack = hijackOf("example.org");
      await replica.process([precertificate(hijack), final(hijack)]);
      expect(await count()).toBe(1);
      other.recorded.length = 0;
      await other.record([final(hijack), someFinal("b.example.org"), precertificate(hijack)]);
      expect(other.recorded).toHaveLength(1);
      expect(await count()).toBe(2);
    });
  });

  test("thousands of pending certificates of one issuance do not make each statement walk over all of them", async () => {
    const flood = hijackOf("example.org");
    const junk = (i: number) => ({
      ...final(flood),
      asDerBase64: Buffer.from(`junk ${i}`).toString("base64"),
    });
    await replica.record([junk(0)]);
    await replica.query(
      `INSERT INTO public.alerts (certificate_key, merged_keys, issuance_id, tbs_sha256, der_state, fingerprint, sans, matched,
                                  seen_at, payload, severity, recorded_at, judge_at)
       SELECT certificate_key || i, merged_keys, issuance_id, tbs_sha256, der_state, fingerprint, sans, matched,
              seen_at, payload, severity, recorded_at, judge_at
       FROM public.alerts, generate_series(1, 30000) AS i`,
    );
    // It took longer than the statement may take, again and again.
    expect(await replica.record(Array.from({ length: 500 }, (_, i) => junk(1 + i)))).toBe(0);
    expect(replica.errors).toEqual([]);
  });

  describe("hostile contents", () => {
    test("NUL, lone surrogates, huge and senseless values are recorded, judged, and lose no neighbour", async () => {
      const nul = {
        ...withoutDer(someFinal()),
        allDomains: ["evil\0.example.org", "example.org"],
        issuerO: "a\0b",
        certLink: "\0",
      };
      const surrogate = {
        ...withoutDer(someFinal()),
        allDomains: ["\ud800.example.org"],
        issuerAggregated: "\udfff",
        serial: "\udc00",
      };
      const huge = {
        ...withoutDer(someFinal()),
        allDomains: [`${"a".repeat(2_000_000)}.example.org`],
        issuerCn: "x".repeat(500_000),
      };
      const escapes = {
        ...withoutDer(someFinal()),
        allDomains: [`${'\u0001\\"'.repeat(100_000)}.example.org`],
      };
      const many = {
        ...withoutDer(someFinal()),
        allDomains: Array.from({ length: 20_000 }, (_, i) => `${i}.example.org`),
      };
      const senseless = {
        ...withoutDer(someFinal()),
        seenEpochSeconds: -62_135_596_800,
        notBeforeEpochSeconds: null,
        sourceName: "\u2028",
      };
      const empty: CertUpdate = {
        ...withoutDer(someFinal()),
        updateType: null,
        fingerprintSha1: null,
        serial: null,
        issuerCn: null,
      };
      Object.assign(empty, {
        issuerO: null,
        issuerAggregated: null,
        asDerBase64: null,
        leafJson: "{}",
        allDomains: [],
      });
      const neighbours = [someFinal(), someFinal()];
      const all = [neighbours[0]!, nul, surrogate, huge, escapes, many, senseless, empty, neighbours[1]!];
      expect(await replica.record(all)).toBe(0);
      await replica.judge();
      expect(await replica.verdicts()).toEqual(all.map(() => "suspicious none"));
      const stored = await replica.rows();
      const rows = all.map(
        (one) => stored.find(({ fingerprint }) => fingerprint === (one.fingerprintSha1 ?? ""))!,
      );
      expect(rows.map(({ last_error }) => last_error)).toEqual(all.map(() => null));
      expect(rows[1]!.sans).toEqual(["evil\ufffd.example.org", "example.org"]);
      expect(rows[2]!.sans).toEqual(["\ufffd.example.org"]);
      expect(rows[3]!.sans[0]).toHaveLength(2_000_012);
      expect(rows[5]!.sans).toHaveLength(20_000);
      expect(replica.errors).toEqual([]);
    });

    test("a number that no date has, as a server sends it, hides nothing", async () => {
      const { parseMessage } = await import("../../src/feed/message.ts");
      const text =
        '{"message_type":"certificate_update","data":{"seen":1e300,"cert_index":1e300,"leaf_cert":{"all_domains":["example.org"],"not_before":1e300,"not_after":-1e300,"serial_number":"01"}}}';
      const parsed = parseMessage(Buffer.from(text));
      if (parsed.type !== "certificate_update") throw new Error("not an update");
      await replica.process([parsed.update]);
      const [row] = await replica.query<{ seen_at: number }>(
        "SELECT seen_at, payload -> 'not_before' AS v FROM public.alerts",
      );
      expect(row).toEqual({ seen_at: expect.any(Number), v: null });
      expect(Math.abs(row!.seen_at - Date.now() / 1000)).toBeLessThan(600);
    });
  });

  test("a feed's time that lies in the future keeps no row from being pruned; the payload has it as it came", async () => {
    const future = 4_000_000_000;
    await replica.record([{ ...someFinal(), seenEpochSeconds: future }]);
    const [row] = await replica.query<{ ahead: number; seen_at: number }>(
      `SELECT seen_at - EXTRACT(EPOCH FROM now())::bigint AS ahead, (payload ->> 'seen_at')::bigint AS seen_at
       FROM public.alerts`,
    );
    expect(row!.ahead).toBeLessThanOrEqual(1);
    expect(row!.seen_at).toBe(future);
  });

  describe("a row that the database refuses", () => {
    const refuse = (condition: string, state: string) =>
      replica.query(`
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF ${condition} THEN RAISE EXCEPTION 'not this one' USING ERRCODE = '${state}'; END IF;
          RETURN NEW;
        END $$`);
    const refuseBy = async (condition: string, state: string) => {
      await refuse(condition, state);
      await replica.query(
        "CREATE TRIGGER refuse BEFORE INSERT ON public.alerts FOR EACH ROW EXECUTE FUNCTION refuse()",
      );
      return async () => {
        await replica.query("DROP FUNCTION refuse CASCADE");
      };
    };
    const bad = {
      ...withoutDer(someFinal()),
      allDomains: ["b\u00fcd.example.org"],
      issuerAggregated: "refuse me",
    };

    test.each(["22P02", "22021"])(
      "with SQLSTATE %s is stored stripped to its names, with the reason; its neighbours whole",
      async (state) => {
        const undo = await refuseBy("NEW.issuer = 'refuse me'", state);
        try {
          expect(await replica.record([someFinal(), bad, someFinal()])).toBe(0);
        } finally {
          await undo();
        }
        const rows = await replica.query<{ fingerprint: string }>(
          "SELECT fingerprint, sans, issuer, matched, last_error FROM public.alerts ORDER BY fingerprint = $1, id",
          [bad.fingerprintSha1],
        );
        expect(rows).toHaveLength(3);
        expect(rows[2]).toEqual({
          fingerprint: bad.fingerprintSha1,
          sans: ["b?d.example.org"],
          issuer: null,
          matched: ["example.org"],
          last_error: `stored with its names only: not this one (${state})`,
        });
        expect(rows.slice(0, 2)).toMatchObject([{ last_error: null }, { last_error: null }]);
        expect(replica.errors).not.toHaveLength(0);
        expect(replica.recorded).toHaveLength(3);
        // It is judged and sent like any other.
        await replica.judge();
        expect(await replica.verdicts()).toEqual(["suspicious none", "suspicious none", "suspicious none"]);
        expect((await replica.rows()).every(({ is_due }) => is_due)).toBe(true);
      },
    );

    test.each(["23514", "P0001"])(
      "by a rule of the table (SQLSTATE %s) waits until the rule is mended; its neighbours do not",
      async (state) => {
        const undo = await refuseBy("NEW.issuer = 'refuse me'", state);
        const recorder = replica.recorder();
        for (const update of [bad, someFinal(), someFinal()]) recorder.add(update, matchOf(update));
        recorder.loop.start();
        await waitUntil("the neighbours are recorded", count, (rows) => rows === 2);
        expect([recorder.waiting, replica.errors.length]).toEqual([1, 1]);
        const next = someFinal();
        recorder.add(next, matchOf(next));
        await waitUntil("the next one is recorded", count, (rows) => rows === 3);
        await undo();
        await waitUntil("the refused one is recorded", count, (rows) => rows === 4);
        await recorder.loop.stop();
        const [row] = await replica.query(
          "SELECT issuer, last_error FROM public.alerts ORDER BY id DESC LIMIT 1",
        );
        expect(row).toEqual({ issuer: "refuse me", last_error: null });
      },
    );

    test("by rules of an administrator's waits whole: a sequence behind the ids, a NOT NULL column, a CHECK", async () => {
      const rules = [
        ["SELECT setval('public.alerts_id_seq', 1, false)", "SELECT setval('public.alerts_id_seq', 1000)"],
        [
          `ALTER TABLE public.alerts ADD COLUMN owner TEXT NOT NULL DEFAULT 'x';
           ALTER TABLE public.alerts ALTER COLUMN owner DROP DEFAULT`,
          "ALTER TABLE public.alerts DROP COLUMN owner",
        ],
        [
          "ALTER TABLE public.alerts ADD CONSTRAINT two CHECK (severity IN ('info', 'suspicious')) NOT VALID",
          "ALTER TABLE public.alerts DROP CONSTRAINT two",
        ],
      ] as const;
      // As a copy of a table has them whose sequence was not copied.
      await replica.query(
        `INSERT INTO public.alerts (fingerprint, sans, matched, seen_at, delivered)
         SELECT '', '[]', '[]', 0, true FROM generate_series(1, 900)`,
      );
      const recordedCount = () =>
        replica.value<number>("SELECT count(*)::int FROM public.alerts WHERE recorded_at IS NOT NULL");
      let recorded = 0;
      for (const [make, mend] of rules) {
        await replica.query(make);
        const recorder = replica.recorder();
        for (const update of [someFinal(), someFinal(), someFinal()]) recorder.add(update, matchOf(update));
        recorder.loop.start();
        await waitUntil(
          "all are refused",
          () => replica.errors.length,
          (errors) => errors >= 3,
        );
        expect([await recordedCount(), recorder.waiting]).toEqual([recorded, 3]);
        await replica.query(mend);
        recorded += 3;
        await waitUntil("all are recorded", recordedCount, (rows) => rows === recorded);
        await recorder.loop.stop();
        replica.errors.length = 0;
      }
      await replica.judge();
      const verdicts = "SELECT DISTINCT severity FROM public.alerts WHERE recorded_at IS NOT NULL";
      expect(await replica.query(verdicts)).toEqual([{ severity: "suspicious" }]);
    });

    test("and refuses stripped too is logged whole and counted, once; its neighbours are stored", async () => {
      const undo = await refuseBy(`NEW.fingerprint = '${bad.fingerprintSha1}'`, "23514");
      const dropped = await replica.metric("alerts_dropped_total");
      try {
        await replica.record([someFinal(), bad, someFinal()]);
      } finally {
        await undo();
      }
      expect(await count()).toBe(2);
      expect(await replica.metric("alerts_dropped_total")).toBe(dropped + 1);
      const lines = replica.logged("could not be recorded");
      expect(lines).toMatchObject([
        {
          level: 50,
          dropped: { fingerprint: bad.fingerprintSha1, sans: bad.allDomains, issuer: "refuse me" },
        },
      ]);
    });
  });

  describe("a write that fails", () => {
    /** Breaks the first statement, before it runs or after it was committed. */
    function breakFirst(when: "before" | "after"): () => void {
      const { db } = replica;
      let calls = 0;
      replica.db = {
        ...delegate(db),
        query: async <Row>(sql: Parameters<typeof db.query>[0], ms: number) => {
          calls += 1;
          const isBroken = calls === 1;
          if (isBroken && when === "before") throw new Error("not persisted");
          const rows = await db.query<Row>(sql, ms);
          if (isBroken) throw new Error("persisted, but the answer was lost");
          return rows;
        },
      };
      return () => {
        replica.db = db;
      };
    }

    test.each(["before", "after"] as const)("%s its commit is repeated, and leaves one row", async (when) => {
      const repair = breakFirst(when);
      try {
        expect(await replica.record([someFinal()])).toBe(0);
      } finally {
        repair();
      }
      expect(replica.errors).toHaveLength(1);
      expect(await count()).toBe(1);
      await replica.judge();
      expect(await replica.verdicts()).toEqual(["suspicious none"]);
    });

    test.each(["before", "after"] as const)("%s the commit of a judgement leaves one event", async (when) => {
      const hijack = hijackOf("example.org");
      await replica.record([precertificate(hijack), final(hijack)]);
      const { db } = replica;
      let broken = false;
      replica.db = {
        ...delegate(db),
        query: async <Row>(sql: Parameters<typeof db.query>[0], ms: number) => {
          const isJudgement = sql.name === "judge certificates" && !broken;
          if (isJudgement) broken = true;
          if (isJudgement && when === "before") throw new Error("not persisted");
          const rows = await db.query<Row>(sql, ms);
          if (isJudgement) throw new Error("persisted, but the answer was lost");
          return rows;
        },
      };
      try {
        await replica.judge();
      } finally {
        replica.db = db;
      }
      expect(replica.errors).toHaveLength(1);
      await replica.judge();
      expect(await replica.rows()).toMatchObject([{ severity: "suspicious", is_due: true }]);
      expect(mergedCertificates((await replica.rows())[0]!)).toHaveLength(1);
    });

    test("is no memory of its certificates: they wait until the commit", async () => {
      const update = someFinal();
      const repair = breakFirst("before");
      const recorder = replica.recorder();
      repair();
      recorder.add(update, matchOf(update));
      const remembered = await replica.metric("dedupe_cache_size");
      await oneStep(recorder.loop);
      expect(replica.errors).toHaveLength(1);
      expect(recorder.waiting).toBe(1);
      expect(await replica.metric("dedupe_cache_size")).toBe(remembered);
      expect(await recorder.drain(patienceMs)).toBe(0);
      expect(await count()).toBe(1);
    });

    test("of the inventory leaves certificates pending", async () => {
      await replica.record([someFinal()]);
      await replica.query("ALTER TABLE public.certs RENAME TO certs_away");
      try {
        await replica.judge();
        expect(await replica.verdicts()).toEqual(["pending"]);
        expect(replica.errors).toHaveLength(1);
      } finally {
        await replica.query("ALTER TABLE public.certs_away RENAME TO certs");
      }
      await replica.judge();
      expect(await replica.verdicts()).toEqual(["suspicious none"]);
    });
  });

  describe("memory", () => {
    test("what cannot be written by the end of a stop is counted and logged whole", async () => {
      const { db } = replica;
      const away = async () => {
        throw new Error("the database is away");
      };
      replica.db = { ...delegate(db), query: away };
      const dropped = await replica.metric("alerts_dropped_total");
      const recorder = replica.recorder();
      replica.db = db;
      const update = someFinal();
      recorder.add(update, matchOf(update));
      expect(await recorder.drain(10)).toBe(1);
      expect(await replica.metric("alerts_dropped_total")).toBe(dropped + 1);
      expect(replica.logged("could not be recorded")).toMatchObject([
        { dropped: { certificate_key: identify(update).certificateKey, payload: { serial: update.serial } } },
      ]);
    });
  });
});

describeIfAvailable("recording while PostgreSQL is away", NO_POSTGRES, () => {
  test("after a failover that lost commits, what the feed brings again is recorded again", async () => {
    const cluster: Cluster = await startCluster();
    const replica = new Replica(await cluster.createDatabase());
    try {
      const recorder = replica.recorder();
      recorder.loop.start();
      const hijack = someFinal();
      const addAgain = () => recorder.add(hijack, matchOf(hijack));
      addAgain();
      await untilRecorded(replica, 1);
      addAgain();
      expect(recorder.waiting).toBe(0);
      await replica.query("TRUNCATE public.alerts");
      await cluster.stop();
      await cluster.start();
      await untilRecorded(replica, 2, addAgain);
      expect(await replica.value("SELECT count(*) FROM public.alerts")).toBe(1);
      expect(await recorder.drain(patienceMs)).toBe(0);
    } finally {
      await replica.db.end();
      await cluster.close();
    }
  });

  test.each(["stop", "kill"] as const)(
    "after a %s, certificates wait in memory and are written when it is back",
    async (how) => {
      const cluster: Cluster = await startCluster();
      const replica = new Replica(await cluster.createDatabase());
      try {
        const recorder = replica.recorder();
        recorder.loop.start();
        const add = (update: CertUpdate) => recorder.add(update, matchOf(update));
        const [before, during] = [someFinal(), [someFinal(), someFinal(), someFinal()]];
        add(before);
        await untilRecorded(replica, 1);
        await cluster[how]();
        for (const update of [...during, ...during]) add(update);
        await waitUntil(
          "a failure",
          () => replica.errors.length,
          (count) => count > 0,
        );
        expect(recorder.waiting).toBe(3);
        await cluster.start();
        await waitUntil(
          "all to be written",
          () => recorder.waiting,
          (waiting) => waiting === 0,
        );
        expect(await recorder.drain(patienceMs)).toBe(0);
        expect(await replica.value("SELECT count(*) FROM public.alerts")).toBe(4);
      } finally {
        await replica.db.end();
        await cluster.close();
      }
    },
  );
});
