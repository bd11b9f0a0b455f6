import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { byHand } from "../support/by-hand.ts";
import { type DatabaseSource, NO_POSTGRES_OR_DSN, openPostgres } from "../support/postgres.ts";
import { endPrograms } from "../support/program.ts";
import { describeIfAvailable } from "../support/skip.ts";
import { patienceMs, waitUntil } from "../support/wait.ts";
import { type Bed, entryOf, isFor, messageOf, openBed } from "./bed.ts";

/** Certificates that the feed sends. */
const sentCount = 4;
/** All, with those that are copied in the table: as strings they are larger than the heap. */
const hugeCount = 72;
const nameCount = 32_000;
const hugeNames = Array.from({ length: nameCount }, (_, i) => `n${i}${".xxxxxxxxx".repeat(24)}.invalid`);
const smallHeap = { NODE_OPTIONS: "--max-old-space-size=512" };
const deadlineMs = 120_000;

describeIfAvailable("huge certificates", NO_POSTGRES_OR_DSN, () => {
  let source: DatabaseSource;
  let bed: Bed;
  beforeAll(async () => {
    source = await openPostgres();
    bed = await openBed(await source.createDatabase());
  });
  afterEach(endPrograms);
  afterAll(async () => {
    await bed?.close();
    await source?.close();
  });

  const count = async (where: string) => {
    const text = `SELECT count(*)::int AS count FROM public.alerts WHERE ${where}`;
    const [row] = await bed.db.query<{ count: number }>({ name: byHand, text, values: [] }, deadlineMs);
    return row!.count;
  };
  const recorded = "severity = 'pending' AND row_bytes > 8000000 AND jsonb_array_length(sans) > 32000";

  test("in a heap of 512 MB they stop no small one, also after a restart, and all of them arrive", async () => {
    const recording = await bed.start({ ...smallHeap, SUSPICIOUS_GRACE_S: "3600" });
    for (let i = 0; i < sentCount; i += 1) {
      const message = messageOf([`huge${i}.watched.example`], (leaf) => {
        leaf.all_domains = [...hugeNames, `huge${i}.watched.example`];
      });
      await bed.simulator.sendRaw(message);
    }
    await waitUntil(
      "the huge certificates to be recorded",
      () => count(recorded),
      (rows) => rows === sentCount,
    );
    await recording.stop();
    // Every second one as version 0.1.0 records: without its size, and with all names in the payload, too.
    await bed.db.execute(
      {
        name: byHand,
        text: `
          INSERT INTO public.alerts (certificate_key, issuance_id, fingerprint, sans, matched, issuer, seen_at, severity,
                                     payload, recorded_at, next_attempt_at, judge_at, row_bytes)
          SELECT 'copy' || n, md5(n::text), '', sans, matched, issuer, seen_at, severity,
                 CASE WHEN n % 2 = 0 THEN payload || jsonb_build_object('all_sans', sans) ELSE payload END,
                 recorded_at, next_attempt_at, judge_at, CASE WHEN n % 2 = 1 THEN row_bytes END
          FROM (SELECT * FROM public.alerts ORDER BY id LIMIT 1) AS one, generate_series(${sentCount + 1}, ${hugeCount}) AS n`,
      },
      deadlineMs,
    );
    await bed.db.execute({ name: byHand, text: "UPDATE public.alerts SET judge_at = now()" }, deadlineMs);

    const killed = await bed.start(smallHeap);
    await bed.simulator.publish(entryOf({ dnsNames: ["small.watched.example"] }));
    await bed.receiver.waitFor(isFor("small.watched.example"), patienceMs);
    // The small one does not wait for the huge ones.
    expect(await count("severity = 'pending'")).toBeGreaterThan(0);
    killed.signal("SIGKILL");
    await killed.exited;

    const program = await bed.start(smallHeap);
    await bed.simulator.publish(entryOf({ dnsNames: ["later.watched.example"] }));
    await bed.receiver.waitFor(isFor("later.watched.example"), patienceMs);
    await waitUntil(
      "every event to be delivered",
      () => count("NOT delivered"),
      (rows) => rows === 0,
    );
    const ids = new Set(bed.receiver.deliveries.map(({ headers }) => headers["webhook-id"]));
    expect(ids.size).toBe(hugeCount + 2);
    for (const { body } of bed.receiver.deliveries)
      expect(Buffer.byteLength(body)).toBeLessThanOrEqual(1_048_576);
    expect(await count(`jsonb_array_length(sans) = ${nameCount + 1}`)).toBe(hugeCount);
    expect(await program.stop()).toBe(0);
  });
});
