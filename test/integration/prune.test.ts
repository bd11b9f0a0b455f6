import { beforeAll, beforeEach, expect, test } from "vitest";
import { createPruner } from "../../src/alerts/prune.ts";
import { limitKeptCertificates, pruneAlerts } from "../../src/alerts/sql/prune-alerts.ts";
import { describeOnEveryDatabase } from "../support/databases.ts";
import { oneStep, openReplicas, type Replica, startAfresh } from "../support/outbox.ts";
import {
  copyOf,
  final,
  insertInventory,
  inventoryRow,
  ours,
  precertificate,
  theirs,
  willow,
} from "../support/updates.ts";
import { waitUntil } from "../support/wait.ts";

const daySeconds = 86_400;
const retentionSeconds = 30 * daySeconds;
const deadlineMs = 10_000;
const oldDays = 31;
const freshDays = 29;

describeOnEveryDatabase("pruning", (open) => {
  let replica: Replica;
  beforeAll(async () => {
    const opened = await openReplicas(open);
    replica = opened.replica;
    return opened.close;
  });
  beforeEach(() => startAfresh(replica));

  const prune = (limit = 100) => pruneAlerts(replica.db, { retentionSeconds, limit, deadlineMs });
  const someFinal = () => final(theirs.issue({ dnsNames: ["example.org"] }));

  /** An observer's event (nothing to deliver) of that age by the feed's clock and by the database's. */
  async function makeEvent({
    seenDaysAgo = oldDays,
    recordedDaysAgo = oldDays,
    set = "",
  }: {
    seenDaysAgo?: number;
    recordedDaysAgo?: number | null;
    set?: string;
  } = {}): Promise<void> {
    await replica.process([someFinal()], { deliver: false });
    await replica.query(
      `UPDATE public.alerts SET seen_at = EXTRACT(EPOCH FROM now()) - $1::float8 * 86400,
              recorded_at = now() - $2::float8 * interval '1 day' ${set === "" ? "" : `, ${set}`}
       WHERE id = (SELECT max(id) FROM public.alerts)`,
      [seenDaysAgo, recordedDaysAgo],
    );
  }

  test("an event goes when both clocks say that it is older than the retention", async () => {
    await makeEvent();
    await makeEvent({ seenDaysAgo: freshDays });
    await makeEvent({ recordedDaysAgo: freshDays });
    await makeEvent({ seenDaysAgo: 50 * 365, recordedDaysAgo: 0 });
    await makeEvent({ seenDaysAgo: -365 });
    expect(await prune()).toEqual({ deleted: 1, undelivered: 1 });
    expect((await replica.rows()).map(({ id }) => id)).toEqual([2, 3, 4, 5]);
  });

  test("undelivered ones are counted, delivered ones are not", async () => {
    await makeEvent({ set: "delivered = true" });
    await makeEvent({ set: "given_up_at = now() - interval '30 days'" });
    await makeEvent();
    expect(await prune()).toEqual({ deleted: 3, undelivered: 2 });
  });

  test("what has work left stays: in its grace, due, leased", async () => {
    await makeEvent({ set: "next_attempt_at = now() - interval '31 days'" });
    await makeEvent({
      set: "next_attempt_at = now() + interval '1 s', lease_until = now() + interval '1 h'",
    });
    await makeEvent({ set: "severity = 'pending', judge_at = now(), event_number = NULL" });
    expect(await prune()).toEqual({ deleted: 0, undelivered: 0 });
  });

  test("what a reference implementation wrote goes by the feed's clock", async () => {
    await makeEvent({ recordedDaysAgo: null });
    await makeEvent({
      seenDaysAgo: freshDays,
      recordedDaysAgo: null,
    });
    expect((await prune()).deleted).toBe(1);
  });

  test("a recognised event stays while its certificate is valid, and for the retention, without payload and certificate", async () => {
    const now = Math.floor(Date.now() / 1000);
    const issue = (notAfterDaysAgo: number) =>
      ours.issue({
        dnsNames: ["example.org"],
        notBeforeEpochSeconds: now - 100 * daySeconds,
        notAfterEpochSeconds: now - notAfterDaysAgo * daySeconds,
      });
    const [valid, expired, longExpired] = [issue(-10), issue(freshDays), issue(oldDays)];
    for (const issuance of [valid, expired, longExpired]) {
      await insertInventory(replica.db, inventoryRow(issuance));
      await replica.process([precertificate(issuance)], { deliver: false });
    }
    const [byHash, byFingerprint] = [issue(-11), issue(-12)];
    await insertInventory(replica.db, inventoryRow(byHash, { tbs: true }), inventoryRow(byFingerprint));
    await replica.process([precertificate(byHash), final(byFingerprint)], { deliver: false });
    await replica.query("UPDATE public.alerts SET seen_at = 1, recorded_at = now() - interval '31 days'");
    await oneStep(createPruner({ ...replica, intervalSeconds: 60, retentionSeconds }));
    expect(replica.logged("deleted alerts")).toMatchObject([{ deleted: 1, undelivered: 1 }]);
    const kept = ["info serial", "info serial", "info tbs", "info fingerprint"];
    expect(await replica.verdicts()).toEqual(kept);
    expect(await replica.value("SELECT count(*)::int FROM public.alerts WHERE payload IS NOT NULL")).toBe(0);
    // Their excuses are taken, whatever the age of the events and whatever they were recognised by.
    for (const original of [valid, byHash, byFingerprint]) {
      const copy = copyOf(original, theirs);
      await replica.process([precertificate(copy, { log: willow })], { deliver: false });
      kept.push("suspicious none");
      expect(await replica.verdicts()).toEqual(kept);
    }
    // The certificates themselves are known, too.
    await replica.process([precertificate(valid), precertificate(byHash), final(byFingerprint)]);
    expect(await replica.verdicts()).toEqual(kept);
  });

  test("a copy that was excused before its original is exposed when its payload is gone, too", async () => {
    const renewal = ours.issue({ dnsNames: ["example.org"] });
    const copy = copyOf(renewal, theirs);
    await insertInventory(replica.db, inventoryRow(renewal));
    await replica.process([precertificate(copy, { log: willow })], { deliver: false });
    await replica.query("UPDATE public.alerts SET seen_at = 1, recorded_at = now() - interval '31 days'");
    await oneStep(createPruner({ ...replica, intervalSeconds: 60, retentionSeconds }));
    await replica.process([final(renewal)]);
    expect((await replica.verdicts()).sort()).toEqual(["info fingerprint", "info serial", "suspicious none"]);
    const [exposed] = await replica.query(
      "SELECT payload ->> 'all_sans' AS names FROM public.alerts WHERE event_type = 'certificate.escalated'",
    );
    expect(exposed).toEqual({ names: '["example.org"]' });
  });

  test("certificates are kept up to a number of bytes, those of the newest events", async () => {
    await replica.process([someFinal(), someFinal(), someFinal()]);
    const bytes = await replica.query<{ bytes: number }>(
      "SELECT octet_length(der) AS bytes FROM public.alerts ORDER BY id DESC",
    );
    const ofTwo = bytes[0]!.bytes + bytes[1]!.bytes;
    const kept = () => replica.query("SELECT id FROM public.alerts WHERE der IS NOT NULL ORDER BY id");
    await limitKeptCertificates(replica.db, { maxBytes: ofTwo, deadlineMs });
    expect(await kept()).toEqual([{ id: 2 }, { id: 3 }]);
    await limitKeptCertificates(replica.db, { maxBytes: ofTwo - 1, deadlineMs });
    expect(await kept()).toEqual([{ id: 3 }]);
  });

  test("a pruned certificate is new again; one merged into a living event is not", async () => {
    const hijack = theirs.issue({ dnsNames: ["example.org"] });
    await replica.process([precertificate(hijack), final(hijack)], { deliver: false });
    await replica.process([final(hijack)], { deliver: false });
    expect(await replica.verdicts()).toEqual(["suspicious none"]);
    await replica.query("UPDATE public.alerts SET seen_at = 1, recorded_at = now() - interval '31 days'");
    await prune();
    await replica.process([final(hijack)], { deliver: false });
    expect(await replica.verdicts()).toEqual(["suspicious none"]);
  });

  test("no more than the limit goes at once, the oldest first", async () => {
    for (const days of [40, 60, 50]) await makeEvent({ seenDaysAgo: days });
    expect((await prune(2)).deleted).toBe(2);
    expect((await replica.rows()).map(({ id }) => id)).toEqual([1]);
  });

  test("the cleanup loop deletes batch after batch, and says how many were never delivered", async () => {
    await makeEvent({ set: "delivered = true" });
    // More than one batch of 5,000.
    await replica.query(
      `INSERT INTO public.alerts (fingerprint, sans, matched, seen_at) SELECT '', '[]', '[]', 1 FROM generate_series(1, 5500)`,
    );
    await makeEvent({ recordedDaysAgo: 0 });
    const pruner = createPruner({ ...replica, intervalSeconds: 3600, retentionSeconds });
    pruner.start();
    const logged = () => replica.logged("older than the retention").length;
    await waitUntil("the line in the log", logged, (count) => count === 1);
    await pruner.stop();
    expect(replica.logged("older than the retention")).toMatchObject([{ deleted: 5501, undelivered: 5500 }]);
    expect(await replica.rows()).toHaveLength(1);
    await oneStep(createPruner({ ...replica, intervalSeconds: 3600, retentionSeconds }));
    expect(replica.errors).toEqual([]);
  });
});
