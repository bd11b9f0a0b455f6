import { beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import type { Verdict } from "../../src/alerts/outbox.ts";
import { outcomeOf } from "../../src/alerts/outcome.ts";
import { claimDeliveries } from "../../src/alerts/sql/claim-deliveries.ts";
import { settleDeliveries } from "../../src/alerts/sql/settle-deliveries.ts";
import { adoptObserved, giveUpExpired } from "../../src/alerts/sql/sweep-deliveries.ts";
import { startWebhookReceiver, type WebhookReceiver } from "../../src/demo/receiver.ts";
import { describeOnEveryDatabase } from "../support/databases.ts";
import { delegate, oneStep, openReplicas, Replica, startAfresh } from "../support/outbox.ts";
import { NO_POSTGRES_OR_DSN, openPostgres } from "../support/postgres.ts";
import { describeIfAvailable } from "../support/skip.ts";
import { final, insertInventory, inventoryRow, ours, precertificate, theirs } from "../support/updates.ts";

const deadlineMs = 10_000;
type Payload = { alert_id: number; severity: string };

describeOnEveryDatabase("delivery", (open) => {
  let replica: Replica;
  let other: Replica;
  let receiver: WebhookReceiver;
  beforeAll(async () => {
    const opened = await openReplicas(open);
    ({ replica, other } = opened);
    return opened.close;
  });
  beforeEach(async () => {
    await startAfresh(replica, other);
    receiver = await startWebhookReceiver();
    return () => receiver.close();
  });

  /** Records and judges so many unknown certificates. */
  async function makeSuspicious(count: number, by = replica, deliver = true): Promise<void> {
    const updates = Array.from({ length: count }, () => final(theirs.issue({ dnsNames: ["example.org"] })));
    await by.record(updates, { deliver });
    await by.judge({ deliver });
  }

  /** Records and judges so many certificates that are in the inventory. */
  async function makeInfo(count: number): Promise<void> {
    const issuances = Array.from({ length: count }, () => ours.issue({ dnsNames: ["example.org"] }));
    await insertInventory(replica.db, ...issuances.map((issuance) => inventoryRow(issuance)));
    await replica.record(issuances.map((issuance) => final(issuance)));
    await replica.judge();
  }

  const payloads = () => receiver.deliveries.map(({ json }) => json as Payload);
  const idsSent = () => payloads().map(({ alert_id }) => alert_id);
  const makeDue = () =>
    replica.query("UPDATE public.alerts SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL");
  const expireLeases = () =>
    replica.query(
      "UPDATE public.alerts SET lease_until = now() - interval '1 ms' WHERE lease_until IS NOT NULL",
    );
  const claim = (by: Replica, limit = 100) =>
    claimDeliveries(by.db, {
      severity: "suspicious",
      limit,
      maxBytes: 1e9,
      leaseSeconds: 40,
      deadlineMs,
    });

  test("an event arrives once, as documented, and is delivered", async () => {
    const hijack = theirs.issue({ dnsNames: ["b.example.org", "a.example.org"] });
    await replica.process([precertificate(hijack)]);
    await replica.deliver(receiver.url);
    await replica.deliver(receiver.url);
    const [row] = await replica.rows();
    expect(row).toMatchObject({
      delivered: true,
      attempts: 1,
      is_due: false,
      is_leased: false,
      last_error: null,
    });
    expect(receiver.deliveries).toHaveLength(1);
    const [{ headers, json, method }] = receiver.deliveries as [WebhookReceiver["deliveries"][number]];
    expect(method).toBe("POST");
    expect(headers).toMatchObject({ "content-type": "application/json", "user-agent": "certwatch/1.2.3" });
    expect(headers["webhook-signature"]).toBeUndefined();
    expect(Object.keys(json as object)).toEqual([
      ..."fingerprint_sha1 severity matched_entries matched_sans all_sans issuer_o issuer_cn not_before not_after".split(
        " ",
      ),
      ..."lifetime_days source_log cert_link serial update_type seen_at".split(" "),
      ..."alert_id issuance_id match_basis reason type state incident_key names_truncated".split(" "),
    ]);
    expect(json).toMatchObject({
      fingerprint_sha1: row!.fingerprint,
      severity: "suspicious",
      matched_entries: ["example.org"],
      matched_sans: ["a.example.org", "b.example.org"],
      all_sans: ["b.example.org", "a.example.org"],
      issuer_o: "Obliging CA Ltd",
      issuer_cn: "Obliging CA R1",
      not_before: hijack.fields.notBeforeEpochSeconds,
      not_after: hijack.fields.notAfterEpochSeconds,
      lifetime_days: 90,
      serial: hijack.fields.serialHex,
      update_type: "PrecertLogEntry",
      alert_id: row!.id,
      issuance_id: expect.stringMatching(/^[0-9a-f]{64}$/),
      match_basis: "none",
      reason: row!.reason,
      type: "certificate.suspicious",
      state: "alerting",
      incident_key: expect.stringMatching(/^[0-9a-f]{32}$/),
    });
    expect(await replica.metric("webhook_total", { result: "success" })).toBe(1);
  });

  test("three attempts, 1 s and 4 s apart, then it is given up; always with the same webhook-id", async () => {
    receiver.setBehaviour(500);
    await makeSuspicious(1);
    const beforeMs = await replica.value<number>(
      "SELECT EXTRACT(EPOCH FROM clock_timestamp())::float8 * 1000",
    );
    for (const waitSeconds of [1, 4]) {
      await replica.deliver(receiver.url);
      const [due] = await replica.query<{ least: number; most: number }>(
        `SELECT EXTRACT(EPOCH FROM next_attempt_at)::float8 * 1000 - $1 AS least,
                EXTRACT(EPOCH FROM next_attempt_at - clock_timestamp())::float8 * 1000 AS most FROM public.alerts`,
        [beforeMs],
      );
      expect(due!.least).toBeGreaterThanOrEqual(waitSeconds * 1000);
      expect(due!.most).toBeLessThanOrEqual(waitSeconds * 1000);
      await makeDue();
    }
    expect(replica.logged("will try again").map((line) => line.retry_in_s)).toEqual([1, 4]);
    await replica.deliver(receiver.url);
    expect(await replica.rows()).toMatchObject([
      {
        delivered: false,
        attempts: 3,
        is_due: false,
        is_given_up: true,
        is_leased: false,
        last_error: "the receiver answered 500",
      },
    ]);
    expect(replica.logged("given up")).toHaveLength(1);
    await replica.deliver(receiver.url);
    expect(receiver.count).toBe(3);
    expect(new Set(receiver.deliveries.map(({ headers }) => headers["webhook-id"])).size).toBe(1);
    expect(await replica.metric("alerts_given_up_total")).toBe(1);
  });

  test.each([
    [
      "a redirect",
      { status: 302, headers: { location: "https://other.example/elsewhere" }, body: "Found" },
      1,
      "the receiver answered 302, redirecting to https://other.example: Found",
    ],
    [
      "a closed connection",
      "close" as const,
      1,
      expect.stringMatching(/other side closed|UND_ERR_SOCKET|ECONNRESET/),
    ],
    ["503 without Retry-After", 503, 1, "the receiver answered 503"],
    [
      "500, whose Retry-After means nothing",
      { status: 500, headers: { "retry-after": "7" } },
      1,
      "the receiver answered 500",
    ],
  ])("%s is a failure", async (_, behaviour, retrySeconds, error) => {
    receiver.setBehaviour(behaviour);
    await makeSuspicious(1);
    await replica.deliver(receiver.url);
    expect(await replica.rows()).toMatchObject([{ attempts: 1, is_due: true, last_error: error }]);
    expect(replica.logged("will try again")).toMatchObject([{ retry_in_s: retrySeconds }]);
    expect(receiver.count).toBe(1);
  });

  test("a receiver that answers 413 has a smaller alert within the same attempt, and that is told", async () => {
    receiver.setBehaviour(({ body }) => (body.length > 20_000 ? 413 : 200));
    const names = Array.from({ length: 2_000 }, (_, i) => `${i}.attacker.example.net`);
    await replica.process([final(theirs.issue({ dnsNames: ["login.example.org", ...names] }))]);
    const reduced = () => replica.metric("webhook_reduced_total", { to: "8k" });
    const before = await reduced();
    await replica.deliver(receiver.url);
    expect(await replica.rows()).toMatchObject([{ delivered: true, attempts: 1 }]);
    expect(receiver.count).toBe(3);
    expect(await reduced()).toBe(before + 1);
    expect(replica.logged("the receiver refuses large alerts")).toMatchObject([
      { alert_id: 1, cut_to: "8k" },
    ]);
  });

  test("'later' is no attempt: the event is due again, and is given up when a day of nothing else has passed", async () => {
    receiver.setBehaviour({ status: 429, headers: { "retry-after": "86400" } });
    await makeSuspicious(1);
    for (const _ of [1, 2]) await replica.deliver(receiver.url, { maxAttempts: 1 });
    const postponed = { attempts: 0, is_leased: false, last_error: "the receiver answered 429" };
    expect(await replica.rows()).toMatchObject([{ ...postponed, is_due: true, is_given_up: false }]);
    const age = (hours: number) =>
      replica.query("UPDATE public.alerts SET postponed_since = now() - $1 * interval '1 hour'", [hours]);
    await age(23.9);
    await replica.deliver(receiver.url);
    expect(await replica.rows()).toMatchObject([{ ...postponed, is_due: true }]);
    await age(24);
    await replica.deliver(receiver.url);
    expect(await replica.rows()).toMatchObject([{ ...postponed, is_due: false, is_given_up: true }]);
    expect(replica.logged("given up")).toMatchObject([{ error: "the receiver answered 429" }]);
    expect(receiver.count).toBe(4);
  });

  test("another answer ends the day: the next 'later' begins a new one", async () => {
    await makeSuspicious(1);
    const since = () => replica.value<Date | null>("SELECT postponed_since FROM public.alerts");
    for (const [status, isPostponed] of [
      [429, true],
      [500, false],
      [429, true],
      [200, false],
    ] as const) {
      receiver.setBehaviour(status);
      await replica.deliver(receiver.url);
      expect((await since()) !== null).toBe(isPostponed);
      await makeDue();
    }
    expect(await replica.rows()).toMatchObject([{ delivered: true, attempts: 2 }]);
  });

  test("no answer within the timeout is a failure", async () => {
    receiver.setBehaviour("hang");
    await makeSuspicious(1);
    await replica.deliver(receiver.url, { timeoutSeconds: 0.05 });
    expect(await replica.rows()).toMatchObject([
      { attempts: 1, is_due: true, last_error: "no answer within 0.05 s" },
    ]);
  });

  test("two replicas never claim the same event", async () => {
    await makeSuspicious(40);
    const claims = await Promise.all(
      Array.from({ length: 20 }, (_, i) => claim(i % 2 === 0 ? replica : other, 3)),
    );
    const ids = claims.flat().map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    expect([...ids, ...(await claim(other)).map(({ id }) => id)]).toHaveLength(40);
  });

  test("two replicas deliver each event once", async () => {
    await makeSuspicious(50);
    const remaining = () => replica.value<number>("SELECT count(*) FROM public.alerts WHERE NOT delivered");
    while ((await remaining()) > 0) {
      await Promise.all([replica.deliver(receiver.url), other.deliver(receiver.url)]);
    }
    expect([...idsSent()].sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
  });

  test("suspicious ones are claimed first, and have places that a hanging receiver of info cannot take", async () => {
    receiver.setBehaviour(({ json }) => ((json as Payload).severity === "info" ? "hang" : 200));
    await makeInfo(40);
    const { deliverer, sender } = replica.deliverer(receiver.url);
    deliverer.settling.start();
    deliverer.claiming.start();
    await receiver.waitForCount(24);
    await makeSuspicious(20);
    deliverer.wake();
    await receiver.waitForCount(44);
    expect(payloads().filter(({ severity }) => severity === "info")).toHaveLength(24);
    await deliverer.stop(0);
    await sender.close();
    const rows = await replica.rows();
    expect(rows.filter(({ delivered }) => delivered).every(({ severity }) => severity === "suspicious")).toBe(
      true,
    );
    // Cut attempts do not count, and are due at once for anybody.
    const info = rows.filter(({ severity }) => severity === "info");
    expect(info.every((row) => row.attempts === 0 && row.is_due && !row.is_leased)).toBe(true);
    expect(info.every((row) => row.expired_claims === 0)).toBe(true);
  });

  test("with free places for all, suspicious ones are claimed before info ones that were due earlier", async () => {
    receiver.setBehaviour("hang");
    await makeInfo(3);
    await makeSuspicious(3);
    const { deliverer, sender } = replica.deliverer(receiver.url);
    await oneStep(deliverer.claiming);
    // A lease begins when its row is claimed, and all are equally long.
    const claimed = await replica.query<{ severity: string }>(
      "SELECT severity FROM public.alerts ORDER BY lease_until",
    );
    expect(claimed.map(({ severity }) => severity)).toEqual([
      ...Array(3).fill("suspicious"),
      ...Array(3).fill("info"),
    ]);
    await deliverer.stop(0);
    await sender.close();
  });

  test("what is judged is claimed in the same statement, posted, and settled; beyond the places it is left due", async () => {
    const count = 560;
    const hijacks = Array.from({ length: count }, () => final(theirs.issue({ dnsNames: ["example.org"] })));
    receiver.setBehaviour("hang");
    const { deliverer, sender } = replica.deliverer(receiver.url);
    deliverer.settling.start();
    await oneStep(deliverer.claiming);
    await replica.record(hijacks);
    for (const _ of [1, 2]) await replica.judge({ deliverer }); // 500 at a time
    await receiver.waitForCount(32);
    const rows = await replica.rows();
    expect(rows.every((row) => row.is_due && row.severity === "suspicious")).toBe(true);
    expect(rows.filter((row) => row.is_leased)).toHaveLength(512);
    expect(await claim(other, count)).toHaveLength(count - 512);
    await deliverer.stop(0);
    await sender.close();
    expect((await replica.rows()).filter((row) => row.is_leased)).toHaveLength(count - 512);
    receiver.setBehaviour(200);
    await expireLeases();
    while ((await replica.rows()).some((row) => row.is_due)) await replica.deliver(receiver.url);
    expect(await replica.rows()).toMatchObject(Array(count).fill({ delivered: true, attempts: 1 }));
  });

  test("an all-clear is sent after its page, also when the page has to be tried again", async () => {
    const renewal = ours.issue({ dnsNames: ["example.org"] });
    await replica.process([precertificate(renewal)]);
    receiver.setBehaviour(500);
    await replica.deliver(receiver.url);
    await insertInventory(replica.db, inventoryRow(renewal));
    await replica.process([final(renewal)]);
    receiver.setBehaviour(200);
    await replica.deliver(receiver.url); // the page waits for its back-off, so the all-clear waits, too
    expect(receiver.count).toBe(1);
    await makeDue();
    await replica.deliver(receiver.url);
    await replica.deliver(receiver.url);
    const sent = receiver.deliveries.map(
      ({ json }) => json as { type: string; state: string; incident_key: string },
    );
    expect(sent.map(({ type, state }) => `${type} ${state}`)).toEqual([
      "certificate.suspicious alerting",
      "certificate.suspicious alerting",
      "certificate.cleared ok",
    ]);
    expect(new Set(sent.map(({ incident_key }) => incident_key)).size).toBe(1);
  });

  test("while something else may have been due for longer, nothing is claimed as it is judged", async () => {
    const { deliverer, sender } = replica.deliverer(receiver.url);
    const verdict: Verdict = {
      id: 1,
      issuance_id: "",
      severity: "suspicious",
      row_bytes: 1_300,
      match_basis: "none",
      inventory_row: null,
      follows_known: false,
      row_tbs_sha256: null,
      closable: [],
      reason: "",
      reason_after_other: "",
    };
    const judged = {
      ...verdict,
      eventType: "certificate.suspicious" as const,
      matchBasis: "none",
      matchedEntries: [],
      matchedSans: [],
      issuer: null,
    };
    const isClaimed = async (isEvent: boolean) => {
      let claim: boolean | undefined;
      await deliverer.claimWhile([verdict], async (judgements) => {
        claim = judgements[0]!.claim;
        return [{ ...judged, isEvent, delivery: null }];
      });
      return claim;
    };
    expect(await isClaimed(false)).toBe(false); // nobody has looked yet
    await oneStep(deliverer.claiming);
    expect(await isClaimed(false)).toBe(true);
    expect(await isClaimed(true)).toBe(true); // an event that nobody holds: it is due from now on
    expect(await isClaimed(false)).toBe(false);
    await deliverer.stop(0);
    await sender.close();
  });

  test("a stop while a claim is under way begins no attempt: what it brings is given back", async () => {
    await makeSuspicious(3);
    const { db } = replica;
    let answer = () => {};
    const asked = new Promise<void>((resolve) => {
      replica.db = {
        ...delegate(db),
        query: async (sql, ms) => {
          const rows = await db.query(sql, ms);
          if (sql.name === "claim deliveries" && rows.length > 0) {
            resolve();
            await new Promise<void>((release) => {
              answer = release;
            });
          }
          return rows as never;
        },
      };
    });
    const { deliverer, sender } = replica.deliverer(receiver.url);
    replica.db = db;
    deliverer.settling.start();
    deliverer.claiming.start();
    await asked;
    const stopped = deliverer.stop(5_000);
    answer();
    await stopped;
    await sender.close();
    expect(receiver.count).toBe(0);
    const givenBack = { is_leased: false, is_due: true, expired_claims: 0, attempts: 0 };
    expect(await replica.rows()).toMatchObject(Array(3).fill(givenBack));
  });

  test("what waited too long for a connection is given back, without having been tried", async () => {
    await makeSuspicious(3);
    const claimed = await claimDeliveries(replica.db, {
      severity: "suspicious",
      limit: 3,
      maxBytes: 1e9,
      leaseSeconds: 40,
      deadlineMs,
    });
    const { deliverer, sender } = replica.deliverer(receiver.url);
    vi.spyOn(performance, "now").mockReturnValueOnce(performance.now() - 15_000);
    await deliverer.claimWhile([], async () =>
      claimed.map((delivery) => ({
        ...delivery,
        eventType: "certificate.suspicious" as const,
        isEvent: true,
        matchedEntries: [],
        matchedSans: [],
        issuer: null,
        delivery,
      })),
    );
    vi.restoreAllMocks();
    await oneStep(deliverer.settling);
    expect(receiver.count).toBe(0);
    const givenBack = { is_leased: false, is_due: true, expired_claims: 0, attempts: 0 };
    expect(await replica.rows()).toMatchObject(Array(3).fill(givenBack));
    await deliverer.stop(0);
    await sender.close();
  });

  test("an outcome is not written to another event that has its id since a failover", async () => {
    await makeSuspicious(1);
    const [delivered] = await claim(replica);
    await replica.emptyTables();
    await makeSuspicious(1);
    expect((await replica.rows()).map(({ id }) => id)).toEqual([delivered!.id]);
    const outcome = outcomeOf(delivered!, { kind: "delivered" }, 3);
    expect(await settleDeliveries(replica.db, [outcome], deadlineMs)).toEqual([]);
    expect(await replica.rows()).toMatchObject([{ delivered: false, is_due: true, attempts: 0 }]);
    await replica.deliver(receiver.url);
    expect(await replica.rows()).toMatchObject([{ delivered: true }]);
  });

  describe("a lease that ends", () => {
    test("lets another replica take over; what the first one finds out late is heard only if it is a success", async () => {
      await makeSuspicious(1);
      const [first] = await claim(replica);
      expect(await claim(other)).toEqual([]);
      await expireLeases();
      const [second] = await claim(other);
      expect(second).toMatchObject({ id: first!.id, attempts: 0 });
      expect(second!.lease).not.toBe(first!.lease);
      const issuance_id = first!.issuanceId;
      const unpostponed = { issuance_id, postponed: false, retry_after_seconds: null };
      const failure = { ...unpostponed, delivered: false, error: "late" };
      await settleDeliveries(replica.db, [{ ...first!, ...failure }], deadlineMs);
      expect(await replica.rows()).toMatchObject([
        { attempts: 0, expired_claims: 1, is_leased: true, is_given_up: false, last_error: null },
      ]);
      const success = { ...unpostponed, delivered: true, error: null };
      await settleDeliveries(replica.db, [{ ...first!, ...success }], deadlineMs);
      await settleDeliveries(other.db, [{ ...second!, ...failure }], deadlineMs);
      await settleDeliveries(other.db, [{ ...second!, ...success }], deadlineMs);
      expect(await replica.rows()).toMatchObject([
        {
          delivered: true,
          attempts: 1,
          is_due: false,
          is_leased: false,
          is_given_up: false,
          last_error: null,
        },
      ]);
    });

    test("counts, and after twenty the event is given up", async () => {
      await makeSuspicious(1);
      for (let expired = 1; expired <= 20; expired += 1) {
        expect(await giveUpExpired(replica.db, deadlineMs)).toEqual([]);
        expect(await claim(replica)).toHaveLength(1);
        expect(await giveUpExpired(replica.db, deadlineMs)).toEqual([]);
        await expireLeases();
      }
      expect(await giveUpExpired(replica.db, deadlineMs)).toEqual([1]);
      expect(await giveUpExpired(replica.db, deadlineMs)).toEqual([]);
      expect(await replica.rows()).toMatchObject([
        {
          is_given_up: true,
          is_due: false,
          is_leased: false,
          attempts: 0,
          expired_claims: 20,
          last_error: expect.stringContaining("claimed 20 times without an outcome"),
        },
      ]);
    });
  });

  test("an outcome that was committed but reported as failed changes nothing when it comes again", async () => {
    receiver.setBehaviour(500);
    await makeSuspicious(1);
    const { db } = replica;
    let settled = 0;
    replica.db = {
      ...delegate(db),
      query: async <Row>(sql: Parameters<typeof db.query>[0], ms: number) => {
        const rows = await db.query<Row>(sql, ms);
        if (sql.name !== "settle deliveries") return rows;
        settled += 1;
        if (settled === 1) throw new Error("the connection was lost after the commit");
        return rows;
      },
    };
    try {
      await replica.deliver(receiver.url);
    } finally {
      replica.db = db;
    }
    expect(settled).toBeGreaterThan(1);
    expect(await replica.rows()).toMatchObject([{ attempts: 1, is_due: true, is_leased: false }]);
  });

  test("a stop while the database is away ends, and the event is delivered after the lease", async () => {
    receiver.setBehaviour("hang");
    await makeSuspicious(1);
    const { db } = replica;
    replica.db = {
      ...delegate(db),
      execute: async () => {
        throw new Error("the database is away");
      },
    };
    const { deliverer, sender } = replica.deliverer(receiver.url);
    replica.db = db;
    deliverer.settling.start();
    deliverer.claiming.start();
    await receiver.waitForCount(1);
    await deliverer.stop(0);
    await sender.close();
    expect(replica.errors).toHaveLength(1);
    expect(await replica.rows()).toMatchObject([{ attempts: 0, is_due: true, is_leased: true }]);
    receiver.setBehaviour(200);
    await expireLeases();
    await other.deliver(receiver.url);
    expect(await replica.rows()).toMatchObject([{ delivered: true, expired_claims: 1 }]);
  });

  describe("observer mode", () => {
    test("records and judges, and sends nothing; a delivering replica adopts what is younger than an hour", async () => {
      await makeSuspicious(2, other, false);
      expect((await replica.rows()).map(({ is_due }) => is_due)).toEqual([false, false]);
      await replica.query(
        "UPDATE public.alerts SET recorded_at = now() - interval '61 minutes' WHERE id = 1",
      );
      expect(await adoptObserved(replica.db, deadlineMs)).toEqual([2]);
      expect(await adoptObserved(replica.db, deadlineMs)).toEqual([]);
      await replica.deliver(receiver.url);
      expect(idsSent()).toEqual([2]);
      await replica.deliver(receiver.url);
      expect((await replica.rows()).map(({ delivered }) => delivered)).toEqual([false, true]);
    });

    test("what another program on the table has delivered is not adopted", async () => {
      await makeSuspicious(3, other, false);
      // Of the first the other program has delivered the same event, of the second another severity, of the third nothing.
      await replica.query(
        `INSERT INTO public.alerts (fingerprint, sans, matched, seen_at, delivered, severity)
         SELECT fingerprint, sans, matched, seen_at, id < 3, CASE id WHEN 2 THEN 'info' ELSE severity END
         FROM public.alerts`,
      );
      expect(await adoptObserved(replica.db, deadlineMs)).toEqual([2, 3]);
    });

    test("what was given up is not adopted", async () => {
      receiver.setBehaviour(400);
      await makeSuspicious(1);
      await replica.deliver(receiver.url, { maxAttempts: 1 });
      await replica.deliver(receiver.url, { maxAttempts: 1 });
      expect(receiver.count).toBe(1);
    });
  });

  test("a row that certwatch did not record is never sent, and stops nobody", async () => {
    await replica.query(
      `INSERT INTO public.alerts (fingerprint, sans, matched, seen_at, next_attempt_at)
       VALUES ('ab', '[]', '[]', EXTRACT(EPOCH FROM now()), now())`,
    );
    await makeSuspicious(1);
    await replica.deliver(receiver.url);
    expect(idsSent()).toEqual([2]);
    expect((await replica.rows()).map(({ delivered }) => delivered)).toEqual([false, true]);
  });
});

describeIfAvailable("delivery on a PostgreSQL that writes dates in another style", NO_POSTGRES_OR_DSN, () => {
  test("a failed attempt is written down under its own lease", async () => {
    const source = await openPostgres();
    const dsn = await source.createDatabase();
    const setup = new Replica(dsn);
    const name = await setup.value<string>("SELECT quote_ident(current_database())");
    await setup.query(`ALTER DATABASE ${name} SET datestyle = 'SQL, DMY'`);
    // Read back, its abbreviation is the time of Israel.
    await setup.query(`ALTER DATABASE ${name} SET timezone = 'Asia/Kolkata'`);
    await setup.db.end();
    const replica = new Replica(dsn);
    const receiver = await startWebhookReceiver({ respond: 500 });
    try {
      await replica.process([final(theirs.issue({ dnsNames: ["example.org"] }))]);
      expect(await replica.value("SELECT now()::text")).toMatch(/IST$/);
      await replica.deliver(receiver.url);
      expect(replica.errors).toEqual([]);
      expect(await replica.rows()).toMatchObject([{ attempts: 1, is_leased: false }]);
    } finally {
      await receiver.close();
      await replica.db.end();
      await source.close();
    }
  });
});
