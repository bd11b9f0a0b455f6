import { beforeAll, beforeEach, expect, test } from "vitest";
import { createPruner } from "../../src/alerts/prune.ts";
import { pruneAlerts } from "../../src/alerts/sql/prune-alerts.ts";
import { describeOnEveryDatabase } from "../support/databases.ts";
import { oneStep, openReplicas, type Replica, startAfresh } from "../support/outbox.ts";
import { final, insertInventory, inventoryRow, ours, precertificate, theirs } from "../support/updates.ts";
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

  test("an event that an inventory row excused by serial stays while its certificate is valid, and for the retention", async () => {
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
    expect(await prune()).toEqual({ deleted: 3, undelivered: 3 });
    expect(await replica.verdicts()).toEqual(["info serial", "info serial"]);
    // The excuse of the first one is taken, whatever the age of its event.
    const copy = theirs.issue({
      dnsNames: ["example.org"],
      serial: Buffer.from(valid.fields.serialHex, "hex"),
      notBeforeEpochSeconds: valid.fields.notBeforeEpochSeconds,
      notAfterEpochSeconds: valid.fields.notAfterEpochSeconds,
    });
    await replica.process([precertificate(copy)], { deliver: false });
    expect(await replica.verdicts()).toEqual(["info serial", "info serial", "suspicious none"]);
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
