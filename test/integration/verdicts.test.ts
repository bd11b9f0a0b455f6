import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createPruner } from "../../src/alerts/prune.ts";
import { createSecondLook } from "../../src/alerts/second-look.ts";
import { pruneAlerts } from "../../src/alerts/sql/prune-alerts.ts";
import type { Issuance } from "../../src/demo/certificates.ts";
import type { CertUpdate } from "../../src/feed/message.ts";
import { describeOnEveryDatabase } from "../support/databases.ts";
import { oneStep, openReplicas, type Replica, startAfresh } from "../support/outbox.ts";
import {
  copyOf,
  final,
  insertInventory,
  inventoryRow,
  oak,
  ours,
  precertificate,
  theirs,
  willow,
} from "../support/updates.ts";
import { waitUntil } from "../support/wait.ts";

// Sequences of certificates, and the events that they make.
//
//   P, F   precertificate and final certificate, with DER      p, f   the same from a lite feed: claimed fingerprint, no DER
//   t      static-ct precertificate of certstream-server-go: neither
//   '      a copy: the same issuer name, serial number, validity and names, and another key (the same issuance_id)
//   "      a copy under another issuer name (another issuance_id)
//   +R -R  the row of the original enters the inventory, with TBS hash, or leaves it; +R- without TBS hash
//   +RR-   the row of the original stands twice, without TBS hash, under another fingerprint the second time
//   look   the second look at open incidents
//   40d    forty days pass, and the cleanup runs
//
// Each certificate is judged before the next one comes: the grace is 0. Events: N known, S suspicious, E escalated,
// C cleared, with basis, and the incident that they open or close: k1, k2, ...

const names = ["example.org", "www.example.org"];

describeOnEveryDatabase("the sequence", (open) => {
  let replica: Replica;
  beforeAll(async () => {
    const opened = await openReplicas(open);
    replica = opened.replica;
    return opened.close;
  });
  beforeEach(() => startAfresh(replica));

  const lookAgain = (deliver = true) =>
    oneStep(createSecondLook({ ...replica, deliver, onCleared: () => {}, onError: replica.onError }));

  const prune = () =>
    pruneAlerts(replica.db, { retentionSeconds: 30 * 86_400, limit: 100, deadlineMs: 10_000 });

  async function passDays(days: number): Promise<void> {
    await replica.query(
      `UPDATE public.alerts SET next_attempt_at = NULL, seen_at = seen_at - $1::int * 86400,
              recorded_at = recorded_at - $1::int * interval '1 day', merged_at = merged_at - $1::int * interval '1 day'`,
      [days],
    );
    await oneStep(createPruner({ ...replica, intervalSeconds: 60, retentionSeconds: 30 * 86_400 }));
  }

  async function play(
    sequence: string,
    options: { precertMatch?: "serial" | "tbs" } = {},
  ): Promise<string[]> {
    const original = ours.issue({ dnsNames: names });
    const issuances: Record<string, Issuance> = {
      "": original,
      "'": copyOf(original),
      '"': copyOf(original, theirs),
    };
    const feeds: Record<string, (of: Issuance) => CertUpdate> = {
      P: (of) => precertificate(of),
      F: (of) => final(of),
      p: (of) => precertificate(of, { feed: "lite", server: "rust" }),
      f: (of) => final(of, { feed: "lite", server: "rust" }),
      t: (of) => precertificate(of, { log: willow }),
    };
    for (const step of sequence.split(" ")) {
      if (step === "look") await lookAgain();
      else if (step === "40d") await passDays(40);
      else if (step === "+RR-") {
        const twin = { ...inventoryRow(original), fingerprint_sha1: "5".repeat(40) };
        await insertInventory(replica.db, inventoryRow(original), twin);
      } else if (step === "-R") await replica.query("DELETE FROM public.certs");
      else if (step === "+R") await insertInventory(replica.db, inventoryRow(original, { tbs: true }));
      else if (step === "+R-") await insertInventory(replica.db, inventoryRow(original));
      else await replica.process([feeds[step[0]!]!(issuances[step.slice(1)]!)], options);
    }
    expect(replica.errors).toEqual([]);
    return await events();
  }

  async function events(): Promise<string[]> {
    const rows = await replica.query<{ type: string; basis: string; key: string | null }>(
      `SELECT event_type AS type, match_basis AS basis, incident_key AS key FROM public.alerts
       WHERE severity <> 'pending' ORDER BY id`,
    );
    const letters: Record<string, string> = { known: "N", suspicious: "S", escalated: "E", cleared: "C" };
    const keys: string[] = [];
    return rows.map(({ type, basis, key }) => {
      if (key !== null && !keys.includes(key)) keys.push(key);
      const incident = key === null ? "" : ` k${keys.indexOf(key) + 1}`;
      return `${letters[type.replace("certificate.", "")]}${basis === "none" ? "" : `(${basis})`}${incident}`;
    });
  }

  describe("of one's own certificates", () => {
    test.each([
      ["+R P F P", ["N(tbs)"]],
      ["+R- P F", ["N(serial)"]],
      ["+R t F", ["N(serial)"]],
      ["+R F P p f t", ["N(fingerprint)"]],
      ["+R t f p P F", ["N(serial)"]],
      ["P +R F", ["S k1", "C(fingerprint) k1"]],
      ["t +R F", ["S k1", "C(fingerprint) k1"]],
      ["p +R P", ["S k1", "C(tbs) k1"]],
      ["P F +R look F", ["S k1", "C(tbs) k1"]],
      ["P F +R look look", ["S k1", "C(tbs) k1"]],
      ["F +R- look", ["S k1", "C(fingerprint) k1"]],
      ["+R- t -R F +R- P", ["N(serial)", "E k1", "C(serial) k1"]],
    ])("%s: %j", async (sequence, expected) => {
      expect(await play(sequence)).toEqual(expected);
    });

    test.each([
      ["+R t F", ["S k1", "C(fingerprint) k1"]],
      ["+R P t", ["N(tbs)", "E k1"]],
    ])("with PRECERT_MATCH=tbs, %s: %j", async (sequence, expected) => {
      expect(await play(sequence, { precertMatch: "tbs" })).toEqual(expected);
    });
  });

  describe("of a hijack", () => {
    test.each([
      ["p P F p f t", ["S k1"]],
      ["P p F t f", ["S k1"]],
      ["t f P F", ["S k1"]],
    ])("%s: %j", async (sequence, expected) => {
      expect(await play(sequence)).toEqual(expected);
    });
  });

  describe("with a copy", () => {
    test.each([
      ["+R p P'", ["N(serial)", "E k1"]],
      ["+R P P'", ["N(tbs)", "S k1"]],
      ["+R P' P", ["S k1", "N(tbs)"]],
      ["t +R F F'", ["S k1", "C(fingerprint) k1", "S k2"]],
      ["p +R F F'", ["S k1", "C(fingerprint) k1", "S k2"]],
      ["t +R F t' F'", ["S k1", "C(fingerprint) k1", "S k2"]],
      ["+R t' t F F'", ["N(serial)", "S k1"]],
      [`+R t" t F`, ["N(serial)", "S k1", "C(fingerprint) k1", "E k2"]],
      [`+RR- t t"`, ["N(serial)", "S k1"]],
      [`+R F 40d F t"`, ["N(fingerprint)", "S k1"]],
      [`+R P 40d t t"`, ["N(tbs)", "S k1"]],
      [`+R- t" P -R +R look`, ["N(serial)", "S k1", "C(tbs) k1", "E k2"]],
      [`P 40d P`, ["S k1"]],
      ["f +R look F'", ["S k1", "C(fingerprint) k1", "S k2"]],
      ["p +R- f f'", ["S k1", "C(fingerprint) k1", "E k2"]],
      ["p +R f f'", ["S k1", "C(fingerprint) k1", "E k2"]],
      ["p +R F f f'", ["S k1", "C(fingerprint) k1", "E k2"]],
      ["P' +R f", ["S k1", "N(fingerprint)"]],
    ])("%s: %j", async (sequence, expected) => {
      expect(await play(sequence)).toEqual(expected);
    });
  });

  test("a liar takes the excuse; the original's precertificate pages, its final clears, and the liar is exposed", async () => {
    const renewal = ours.issue({ dnsNames: names });
    await insertInventory(replica.db, inventoryRow(renewal, { tbs: true }));
    const lie = {
      ...precertificate(copyOf(renewal, theirs), { log: willow }),
      fingerprintSha1: "a".repeat(40),
    };
    await replica.process([lie, precertificate(renewal, { log: willow }), final(renewal)]);
    expect(await events()).toEqual(["N(serial)", "S k1", "C(fingerprint) k1", "E k2"]);
    expect((await replica.rows())[1]!.reason).toContain("another issuance was recognised by it before");
  });

  test.each([true, false])(
    "a claimed fingerprint clears no incident that a certificate with DER belongs to (inventory with TBS hash: %s)",
    async (tbs) => {
      const [late, hijack] = [ours.issue({ dnsNames: names }), theirs.issue({ dnsNames: names })];
      const lie = {
        ...final(hijack, { feed: "lite", server: "rust" }),
        fingerprintSha1: final(late).fingerprintSha1,
      };
      await replica.process([lie, final(hijack)]);
      expect(await events()).toEqual(["S k1"]);
      await insertInventory(replica.db, inventoryRow(late, { tbs }));
      await lookAgain();
      expect(await events()).toEqual(["S k1"]);
      await replica.process([final(late)]);
      expect(await events()).toEqual(["S k1", "N(fingerprint)"]);
    },
  );

  test("an incident whose claimed fingerprint proved true is cleared by it", async () => {
    const late = ours.issue({ dnsNames: names });
    await replica.process([final(late, { feed: "lite", server: "rust" }), final(late)]);
    await insertInventory(replica.db, inventoryRow(late));
    await lookAgain();
    expect(await events()).toEqual(["S k1", "C(fingerprint) k1"]);
  });

  test("a flood of certificates of one issuance holds up no other", async () => {
    const flood = theirs.issue({ dnsNames: names });
    const junk = Array.from({ length: 700 }, (_, i) => ({
      ...final(flood),
      asDerBase64: Buffer.from(`junk ${i}`).toString("base64"),
    }));
    await replica.record(junk);
    await replica.record([final(theirs.issue({ dnsNames: ["example.org"] }))]);
    const judge = replica.newJudge();
    const judged = () =>
      replica.query<{ pending: number }>(
        `SELECT (SELECT count(*)::int FROM public.alerts WHERE severity = 'pending') AS pending
         FROM public.alerts WHERE severity = 'suspicious' AND sans = '["example.org"]'`,
      );
    judge.loop.start();
    const [state] = await waitUntil("the other one is judged", judged, (rows) => rows.length === 1);
    await judge.loop.stop();
    expect(state!.pending).toBeGreaterThan(500);
  });

  test("of an expired certificate the page says so first; one's own is known all the same", async () => {
    const expired = {
      dnsNames: names,
      notBeforeEpochSeconds: 1_600_000_000,
      notAfterEpochSeconds: 1_607_776_000,
    };
    const [renewal, hijack] = [ours.issue(expired), theirs.issue(expired)];
    await insertInventory(replica.db, inventoryRow(renewal));
    await replica.process([final(renewal), final(hijack)]);
    expect(await events()).toEqual(["N(fingerprint)", "S k1"]);
    expect((await replica.rows())[1]!.reason).toMatch(/^Expired on 2020-12-12, before it was seen\. /);
  });

  test("an incident that an earlier version opened is closed under the key that its certificate has", async () => {
    const issuance = ours.issue({ dnsNames: names });
    await replica.process([precertificate(issuance)]);
    const [page] = await replica.query<{ key: string }>("SELECT incident_key AS key FROM public.alerts");
    await replica.query("UPDATE public.alerts SET event_type = NULL, incident_key = NULL");
    await insertInventory(replica.db, inventoryRow(issuance, { tbs: true }));
    await replica.process([final(issuance, { log: oak })]);
    const rows = await replica.query("SELECT incident_key AS key FROM public.alerts ORDER BY id");
    expect(rows).toEqual([page, page]);
  });

  test("the second look sends no all-clear of a page that observer mode never sent", async () => {
    const issuance = ours.issue({ dnsNames: names });
    await replica.process([final(issuance)], { deliver: false });
    await insertInventory(replica.db, inventoryRow(issuance));
    await lookAgain();
    expect((await replica.rows()).map(({ is_due }) => is_due)).toEqual([false, false]);
    expect(await events()).toEqual(["S k1", "C(fingerprint) k1"]);
  });

  test("what was merged stays known from its last merge on", async () => {
    const hijack = theirs.issue({ dnsNames: names });
    await replica.process([precertificate(hijack)]);
    const ago = (column: string, days: number) =>
      replica.query(`UPDATE public.alerts SET ${column} = now() - interval '${days} days'`);
    await ago("recorded_at", 31);
    await replica.query("UPDATE public.alerts SET seen_at = 1, next_attempt_at = NULL");
    await replica.process([final(hijack)]);
    await ago("merged_at", 29);
    await prune();
    expect(await replica.rows()).toHaveLength(1);
    await replica.process([final(hijack)]);
    expect(await events()).toEqual(["S k1"]);
    await ago("merged_at", 31);
    await prune();
    expect(await replica.rows()).toEqual([]);
  });
});
