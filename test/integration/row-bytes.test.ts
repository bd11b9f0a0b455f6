import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { bodySizes, fitPayload } from "../../src/alerts/fit-payload.ts";
import { type RecordedPayload, toPayload } from "../../src/alerts/payload.ts";
import { claimDeliveries } from "../../src/alerts/sql/claim-deliveries.ts";
import { dueCertificates, largeDueCertificates } from "../../src/alerts/sql/due-certificates.ts";
import { openIncidentsWithoutTbs } from "../../src/alerts/sql/open-incidents.ts";
import {
  largeReadBytes,
  maxEventBytes,
  maxForeignEventBytes,
  smallRowBytes,
} from "../../src/alerts/sql/row-bytes.ts";
import { describeOnEveryDatabase } from "../support/databases.ts";
import { openReplicas, type Replica, startAfresh } from "../support/outbox.ts";
import {
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

const deadlineMs = 20_000;
/** More names than a webhook body has room for. */
const manyNames = Array.from({ length: 15_000 }, (_, i) => `n${i}.${"x".repeat(60)}.example.org`);

describeOnEveryDatabase("what is read back is bounded in bytes", (open) => {
  let replica: Replica;
  beforeAll(async () => {
    const opened = await openReplicas(open);
    ({ replica } = opened);
    return opened.close;
  });
  beforeEach(() => startAfresh(replica));

  /** Rows that are due for their verdict, the first one longest; `null`: without `row_bytes`. Returns their ids. */
  async function insertDue(...rowBytes: (number | null)[]): Promise<number[]> {
    const rows = await replica.query<{ id: number }>(
      `INSERT INTO public.alerts (fingerprint, sans, matched, seen_at, severity, issuance_id, certificate_key, payload,
                                  recorded_at, next_attempt_at, judge_at, row_bytes)
       SELECT '', '["example.org"]', '["example.org"]', 1, 'pending', 'issuance' || r.n, 'key' || r.n,
              '{"all_sans": ["example.org"], "matched_sans": ["example.org"], "seen_at": 1}', now(), now(),
              now() - interval '1 hour' + r.n * interval '1 s', r.bytes
       FROM unnest($1::int[]) WITH ORDINALITY AS r(bytes, n) RETURNING id`,
      [rowBytes],
    );
    return rows.map(({ id }) => id);
  }
  /** Makes names and payload of a row as large as version 0.1.0 stored them. */
  const enlarge = (id: number) =>
    replica.query(
      `UPDATE public.alerts SET sans = names.list, payload = payload || jsonb_build_object('all_sans', names.list)
       FROM (SELECT jsonb_agg(n || repeat('.xxxxxxxxx', 24)) AS list FROM generate_series(1, 30000) n) AS names
       WHERE id = $1`,
      [id],
    );
  const small = async (limit = 500) =>
    (await dueCertificates(replica.db, { limit, except: [] }, deadlineMs)).map(({ id }) => id);
  const large = async (except: number[] = []) =>
    (await largeDueCertificates(replica.db, except, deadlineMs)).map(({ id }) => id);

  describe("a certificate with more names than a body has room for", () => {
    test("is recorded whole, with a payload that fits a body with any verdict, and with its size", async () => {
      const hijack = theirs.issue({ dnsNames: ["login.example.org", ...manyNames] });
      await replica.record([final(hijack)]);
      const [row] = await replica.query<{ sans: string[]; payload: RecordedPayload; row_bytes: number }>(
        "SELECT sans, payload, row_bytes FROM public.alerts",
      );
      expect(row!.sans).toHaveLength(manyNames.length + 1);
      const { payload } = row!;
      const kept = new Set([...payload.all_sans, ...payload.matched_sans]);
      expect(payload.matched_sans).toContain("login.example.org");
      expect(payload.names_truncated).toBe(manyNames.length + 1 - kept.size);
      const verdict = {
        id: 1,
        severity: "suspicious",
        issuanceId: "ab".repeat(32),
        matchBasis: "none",
      } as const;
      const body = toPayload({
        ...verdict,
        eventType: null,
        incidentKey: null,
        reason: "r".repeat(1_000),
        payload,
      });
      expect(fitPayload(body)(bodySizes[0]!)).toBe(JSON.stringify(body));
      expect(row!.row_bytes).toBeGreaterThan(JSON.stringify(row!.sans).length);
      expect(replica.recorded[0]!.rowBytes).toBe(row!.row_bytes);
    });

    test.each([
      ["by serial number, without DER", willow, undefined],
      ["by serial number, with DER", oak, undefined],
      ["although its CN, which is no name in the DER, stands behind its names", oak, "cn.example.org"],
    ])("is recognised %s", async (_, log, commonName) => {
      const renewal = ours.issue({ dnsNames: manyNames, ...(commonName && { commonName }) });
      await insertInventory(replica.db, inventoryRow(renewal));
      await replica.process([precertificate(renewal, { log })]);
      expect(await replica.verdicts()).toEqual(["info serial"]);
    });

    test("is not, without DER, where the inventory lacks its CN and the CN is watched, cut away or not", async () => {
      const renewal = ours.issue({
        dnsNames: manyNames,
        commonName: `cn.${"x".repeat(60)}.deep.example.org`,
      });
      await insertInventory(replica.db, inventoryRow(renewal));
      await replica.process([precertificate(renewal, { log: willow })]);
      expect(await replica.verdicts()).toEqual(["suspicious none"]);
      const isCut = "NOT payload -> 'matched_sans' @> (payload -> 'subject_cn')";
      expect(await replica.value(`SELECT ${isCut} FROM public.alerts`)).toBe(true);
    });
  });

  describe("certificates that are due", () => {
    test("are small up to 64 kB and large above, never both", async () => {
      const ids = await insertDue(smallRowBytes - 1, smallRowBytes, smallRowBytes + 1);
      expect([await small(), await large()]).toEqual([ids.slice(0, 2), ids.slice(2)]);
    });

    test("large ones are read up to 8 MB together, or one, the longest waiting first", async () => {
      const half = largeReadBytes / 2;
      const ids = await insertDue(half, half, half + 1, half, 4 * half);
      expect(await large()).toEqual(ids.slice(0, 2));
      expect(await large(ids.slice(0, 2))).toEqual([ids[2]]);
      expect(await large(ids.slice(0, 3))).toEqual([ids[3]]);
      expect(await large(ids.slice(0, 4))).toEqual([ids[4]]);
      expect(await large(ids)).toEqual([]);
    });

    test("count by their stored size where nobody wrote how large they are", async () => {
      const ids = await insertDue(null, null);
      await enlarge(ids[0]!);
      expect([await small(), await large()]).toEqual([[ids[1]], [ids[0]]]);
    });

    test("one step judges every small one, and of the large ones a few; the next steps judge the others", async () => {
      const ids = await insertDue(largeReadBytes, largeReadBytes, 1_300, largeReadBytes, 1_300);
      const pending = async () => (await replica.rows()).filter(({ severity }) => severity === "pending");
      await replica.judge();
      expect((await pending()).map(({ id }) => id)).toEqual([ids[1], ids[3]]);
      const judge = replica.newJudge();
      judge.loop.start();
      await waitUntil("every certificate to be judged", pending, (rows) => rows.length === 0);
      await judge.loop.stop();
    });

    test("large ones get their turn although small ones fill every batch", async () => {
      const [id] = await insertDue(largeReadBytes, ...Array.from({ length: 500 }, () => 1_300));
      await replica.judge();
      expect(await replica.value("SELECT severity FROM public.alerts WHERE id = $1", [id])).toBe(
        "suspicious",
      );
    });
  });

  describe("events that are due", () => {
    /** Events, the first one due longest. */
    async function insertEvents(...rowBytes: (number | null)[]): Promise<number[]> {
      const ids = await insertDue(...rowBytes);
      await replica.query(
        `UPDATE public.alerts SET severity = 'suspicious', event_number = 0, match_basis = 'none', judge_at = NULL,
                                  next_attempt_at = judge_at`,
      );
      return ids;
    }
    const claim = async (maxBytes: number) =>
      await claimDeliveries(replica.db, {
        severity: "suspicious",
        limit: 100,
        maxBytes,
        leaseSeconds: 40,
        deadlineMs,
      });
    const idsOf = (events: { id: number }[]) => events.map(({ id }) => id).sort((a, b) => a - b);

    test("are claimed up to the bytes that are free, in their order", async () => {
      const ids = await insertEvents(2_000, 3_000, 4_000, 1_300);
      expect(await claim(1_999)).toEqual([]);
      expect(idsOf(await claim(5_000))).toEqual(ids.slice(0, 2));
      // The next one does not fit: what is behind it does not overtake it.
      expect(await claim(3_999)).toEqual([]);
      expect(idsOf(await claim(5_300))).toEqual(ids.slice(2));
    });

    test("count as 1 MiB at most, which their payloads were cut to, and without a known size as 16 MiB", async () => {
      const [cut, uncut] = await insertEvents(50 * maxEventBytes, null);
      const name = "repeat('x', 250) || n || ' ' || md5(n::text) || md5('a' || n)";
      await replica.query(
        `UPDATE public.alerts
         SET payload = payload || jsonb_build_object('all_sans', (SELECT jsonb_agg(${name}) FROM generate_series(1, 20000) n))
         WHERE id = $1`,
        [uncut],
      );
      const claimed = async (maxBytes: number) =>
        (await claim(maxBytes)).map(({ id, bytes }) => ({ id, bytes }));
      expect(await claimed(maxEventBytes - 1)).toEqual([]);
      expect(await claimed(maxEventBytes)).toEqual([{ id: cut, bytes: maxEventBytes }]);
      expect(await claimed(maxForeignEventBytes - 1)).toEqual([]);
      expect(await claimed(maxForeignEventBytes)).toEqual([{ id: uncut, bytes: maxForeignEventBytes }]);
    });

    test("are read without what only the verdict needed", async () => {
      await replica.process([final(theirs.issue({ dnsNames: ["example.org"] }))]);
      const [event] = await claim(1e6);
      expect(event!.payload.all_sans).toEqual(["example.org"]);
      for (const field of ["subject_cn", "is_cn_watched", "is_cn_appended"])
        expect(event!.payload).not.toHaveProperty(field);
    });
  });

  test("open incidents of an issuance are read in pages of 8 MB, or one", async () => {
    const half = largeReadBytes / 2;
    const ids = await insertDue(half, half, half, 3 * half);
    await replica.query(
      `UPDATE public.alerts SET severity = 'suspicious', issuance_id = 'one', event_number = id, judge_at = NULL`,
    );
    const page = async (afterId: number) =>
      (await openIncidentsWithoutTbs(replica.db, { issuanceIds: ["one"], afterId }, deadlineMs)).map(
        ({ id }) => id,
      );
    expect(await page(0)).toEqual(ids.slice(0, 2));
    expect(await page(ids[1]!)).toEqual([ids[2]]);
    expect(await page(ids[2]!)).toEqual([ids[3]]);
    expect(await page(ids[3]!)).toEqual([]);
  });
});
