import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createAuthority } from "../../src/demo/certificates.ts";
import { describeOnEveryDatabase } from "../support/databases.ts";
import { mergedCertificates, openReplicas, type Replica, startAfresh } from "../support/outbox.ts";
import {
  argon,
  copyOf,
  final,
  insertInventory,
  inventoryRow,
  nimbus,
  oak,
  ours,
  precertificate,
  theirs,
  willow,
} from "../support/updates.ts";

const names = ["example.org", "www.example.org"];

describeOnEveryDatabase("the judgement", (open) => {
  let replica: Replica;
  let other: Replica;
  beforeAll(async () => {
    const opened = await openReplicas(open);
    ({ replica, other } = opened);
    return opened.close;
  });
  beforeEach(() => startAfresh(replica, other));

  describe("one issuance, one event of each severity", () => {
    test("an own renewal is one info: the precertificate by serial, the final silent", async () => {
      const renewal = ours.issue({ dnsNames: names });
      await insertInventory(replica.db, inventoryRow(renewal));
      await replica.process([precertificate(renewal)]);
      expect(await replica.verdicts()).toEqual(["info serial"]);
      const rows = await replica.process([final(renewal)]);
      expect(rows).toMatchObject([{ severity: "info", match_basis: "serial", is_due: true }]);
      expect(mergedCertificates(rows[0]!)).toHaveLength(1);
      expect(rows[0]!.reason).not.toMatch(/All-clear|Escalation/);
    });

    test("a hijack is one suspicious: precertificate and final", async () => {
      const hijack = theirs.issue({ dnsNames: names });
      const rows = await replica.process([precertificate(hijack), final(hijack)]);
      expect(rows).toMatchObject([{ severity: "suspicious", match_basis: "none", is_due: true }]);
      expect(await replica.metric("alerts_merged_total")).toBeGreaterThan(0);
    });

    test("the final before its precertificate is one event too", async () => {
      const hijack = theirs.issue({ dnsNames: names });
      await replica.process([final(hijack), precertificate(hijack)]);
      expect(await replica.verdicts()).toEqual(["suspicious none"]);
    });

    test("both recorded in one batch, and judged in one step, are one event", async () => {
      const hijack = theirs.issue({ dnsNames: names });
      await replica.record([precertificate(hijack), final(hijack)]);
      await replica.judge();
      expect(await replica.verdicts()).toEqual(["suspicious none"]);
    });

    test("a late inventory: suspicious, then the all-clear, which says so; then silence", async () => {
      const renewal = ours.issue({ dnsNames: names });
      await replica.process([precertificate(renewal)]);
      await insertInventory(replica.db, inventoryRow(renewal));
      const rows = await replica.process([final(renewal)]);
      expect(rows.map(({ severity }) => severity)).toEqual(["suspicious", "info"]);
      expect(rows[1]!.match_basis).toBe("fingerprint");
      expect(rows[1]!.reason).toMatch(/^All-clear: /);
      await replica.process([final(renewal, { log: oak }), precertificate(renewal, { log: willow })]);
      expect(await replica.verdicts()).toEqual(["suspicious none", "info fingerprint"]);
    });

    test("an escalation: recognised on a weaker basis, its final is not in the inventory", async () => {
      const renewal = ours.issue({ dnsNames: names });
      const copycat = copyOf(renewal);
      await insertInventory(replica.db, inventoryRow(renewal));
      const lite = precertificate(copycat, { feed: "lite" });
      const rows = await replica.process([lite, final(copycat, { feed: "lite" })]);
      expect(rows.map(({ severity }) => severity)).toEqual(["info", "suspicious"]);
      expect(rows[1]!.reason).toMatch(/^Escalation: /);
    });

    test("the same certificate from three logs, two servers, two feeds and two replicas is one event", async () => {
      const hijack = theirs.issue({ dnsNames: names });
      await replica.process([final(hijack, { log: argon }), final(hijack, { log: oak, server: "rust" })]);
      await other.process([final(hijack, { log: nimbus, feed: "lite" }), final(hijack)]);
      expect(await replica.verdicts()).toEqual(["suspicious none"]);
      expect(other.recorded).toHaveLength(0);
    });

    test("three precertificates of a static-ct log, all without fingerprint, are three events", async () => {
      const hijacks = [1, 2, 3].map((i) => theirs.issue({ dnsNames: [`${i}.example.org`] }));
      const updates = hijacks.map((hijack) => precertificate(hijack, { log: willow }));
      expect(updates.map(({ fingerprintSha1 }) => fingerprintSha1)).toEqual([null, null, null]);
      await replica.record([...updates, ...updates]);
      await replica.judge();
      expect((await replica.rows()).map(({ fingerprint }) => fingerprint)).toEqual(["", "", ""]);
      await replica.process(hijacks.map((hijack) => final(hijack)));
      expect(await replica.verdicts()).toEqual(["suspicious none", "suspicious none", "suspicious none"]);
    });

    test("a hijack seen as tiled precertificate, precertificate and final is one event", async () => {
      const hijack = theirs.issue({ dnsNames: names });
      await replica.process([precertificate(hijack, { log: willow }), precertificate(hijack), final(hijack)]);
      expect(await replica.verdicts()).toEqual(["suspicious none"]);
    });
  });

  describe("a copycat with the same issuer, serial, validity and names", () => {
    test("is a second event where both TBS hashes are known", async () => {
      const hijack = theirs.issue({ dnsNames: names });
      const second = copyOf(hijack, theirs);
      const rows = await replica.process([final(hijack), final(second), precertificate(second)]);
      expect(rows).toMatchObject([{ severity: "suspicious" }, { severity: "suspicious" }]);
      expect(mergedCertificates(rows[1]!)).toHaveLength(1);
    });

    test("does not hide behind the original: info, then suspicious, which is no escalation", async () => {
      const renewal = ours.issue({ dnsNames: names });
      const copycat = copyOf(renewal);
      await insertInventory(replica.db, inventoryRow(renewal, { tbs: true }));
      const rows = await replica.process([precertificate(renewal), precertificate(copycat), final(copycat)]);
      expect(await replica.verdicts()).toEqual(["info tbs", "suspicious none"]);
      expect(rows[1]!.reason).toMatch(/^The inventory has .* other contents/);
    });

    test("is not cleared by the original", async () => {
      const renewal = ours.issue({ dnsNames: names });
      const copycat = copyOf(renewal);
      await insertInventory(replica.db, inventoryRow(renewal, { tbs: true }));
      const rows = await replica.process([final(copycat), final(renewal)]);
      expect(await replica.verdicts()).toEqual(["suspicious none", "info fingerprint"]);
      expect(rows[1]!.reason).not.toContain("All-clear");
    });

    test("gets no excuse from a row without TBS hash, once the original is known with its own", async () => {
      const renewal = ours.issue({ dnsNames: names });
      await insertInventory(replica.db, inventoryRow(renewal));
      await replica.process([precertificate(renewal), precertificate(copyOf(renewal))]);
      expect(await replica.verdicts()).toEqual(["info serial", "suspicious none"]);
    });
  });

  describe("an inventory row excuses one issuance by its serial number", () => {
    const impostor = createAuthority({ commonName: "E7 ", organization: "Somebody else" });

    test.each([
      ["of a row without TBS hash, by serial", { tbs: false }, {}, "info serial"],
      ["of a row with TBS hash, by it", { tbs: true }, {}, "info tbs"],
      ["of a row with TBS hash, without DER", { tbs: true }, { log: willow }, "info serial"],
    ])(
      "the original first, %s: the copy under another issuer is suspicious",
      async (_, row, origin, verdict) => {
        const renewal = ours.issue({ dnsNames: names });
        await insertInventory(replica.db, inventoryRow(renewal, row));
        await replica.process([precertificate(renewal, origin)]);
        const copy = copyOf(renewal, impostor);
        const rows = await replica.process([precertificate(copy, { log: willow })]);
        expect(await replica.verdicts()).toEqual([verdict, "suspicious none"]);
        expect(rows[1]!.reason).toContain("another issuance was recognised by it before");
        await replica.process([precertificate(renewal, { log: willow }), final(renewal), final(copy)]);
        expect(await replica.verdicts()).toEqual([verdict, "suspicious none"]);
      },
    );

    test("the original's final first, by fingerprint: the copy is suspicious", async () => {
      const renewal = ours.issue({ dnsNames: names });
      await insertInventory(replica.db, inventoryRow(renewal));
      await replica.process([final(renewal), precertificate(copyOf(renewal, impostor), { log: willow })]);
      expect(await replica.verdicts()).toEqual(["info fingerprint", "suspicious none"]);
    });

    test("the copy first: the original's precertificate is suspicious", async () => {
      const renewal = ours.issue({ dnsNames: names });
      await insertInventory(replica.db, inventoryRow(renewal));
      const copy = precertificate(copyOf(renewal, impostor), { log: willow });
      const rows = await replica.process([copy, precertificate(renewal)]);
      expect(await replica.verdicts()).toEqual(["info serial", "suspicious none"]);
      expect(rows[1]!.reason).toContain("another issuance was recognised by it before");
    });

    test.each([
      ["by fingerprint", { tbs: false }, final, "info fingerprint"],
      ["by TBS hash", { tbs: true }, precertificate, "info tbs"],
    ] as const)(
      "the copy first, then the original %s: the copy is reported, once",
      async (_, row, kind, verdict) => {
        const renewal = ours.issue({ dnsNames: names });
        const copy = copyOf(renewal, impostor);
        await insertInventory(replica.db, inventoryRow(renewal, row));
        await replica.process([precertificate(copy, { log: willow })]);
        expect(await replica.verdicts()).toEqual(["info serial"]);
        const rows = await replica.process([kind(renewal)]);
        expect(await replica.verdicts()).toEqual(["info serial", verdict, "suspicious none"]);
        expect(rows[2]!.sans).toEqual(names);
        expect(rows[2]!.reason).toMatch(/^Escalation: .* not yours\.$/);
        const more = [
          final(renewal),
          precertificate(renewal),
          precertificate(renewal, { log: willow }),
          final(copy),
        ];
        await replica.process(more);
        expect(await replica.verdicts()).toEqual(["info serial", verdict, "suspicious none"]);
      },
    );

    test("the copy's final certificate and the original in one batch: each story is told", async () => {
      const renewal = ours.issue({ dnsNames: names });
      const copy = copyOf(renewal, impostor);
      await insertInventory(replica.db, inventoryRow(renewal));
      await replica.process([precertificate(copy, { log: willow })]);
      await replica.process([final(copy), final(renewal)]);
      expect((await replica.verdicts()).sort()).toEqual([
        "info fingerprint",
        "info serial",
        "suspicious none",
      ]);
    });

    test("both in one batch: one of the two", async () => {
      const renewal = ours.issue({ dnsNames: names });
      await insertInventory(replica.db, inventoryRow(renewal));
      await replica.record([precertificate(renewal), precertificate(copyOf(renewal, impostor))]);
      await replica.judge();
      expect(await replica.verdicts()).toEqual(["info serial", "suspicious none"]);
    });

    test.each([
      ["the same names excuse one issuance", names, "suspicious none"],
      ["other names excuse two", [names[0]!], "info serial"],
    ])("two rows with the same serial number and validity and %s", async (_, namesOfTwo, verdictOnTwo) => {
      const [one, two] = [ours, theirs].map((authority) =>
        authority.issue({
          dnsNames: authority === ours ? names : namesOfTwo,
          serial: Buffer.from("0abc", "hex"),
          notBeforeEpochSeconds: 1_760_000_000,
        }),
      );
      await insertInventory(replica.db, inventoryRow(one!), inventoryRow(two!));
      await replica.process([
        precertificate(one!),
        precertificate(two!),
        precertificate(copyOf(one!, impostor)),
      ]);
      expect(await replica.verdicts()).toEqual(["info serial", verdictOnTwo, "suspicious none"]);
    });

    test("after pruning, too", async () => {
      const renewal = ours.issue({ dnsNames: names });
      await insertInventory(replica.db, inventoryRow(renewal));
      await replica.process([precertificate(renewal)], { deliver: false });
      await replica.query(
        "UPDATE public.alerts SET recorded_at = now() - interval '31 days', seen_at = 1, next_attempt_at = NULL",
      );
      const { pruneAlerts } = await import("../../src/alerts/sql/prune-alerts.ts");
      await pruneAlerts(replica.db, { retentionSeconds: 2_592_000, limit: 100, deadlineMs: 10_000 });
      await replica.process([precertificate(copyOf(renewal, impostor))]);
      expect(await replica.verdicts()).toEqual(["info serial", "suspicious none"]);
    });
  });

  test("a verdict that the database refuses holds up no other", async () => {
    await replica.query(`
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '22023'; END $$;
      CREATE TRIGGER refuse BEFORE UPDATE ON public.alerts FOR EACH ROW
        WHEN (NEW.sans ? 'b.example.org') EXECUTE FUNCTION refuse()`);
    const [a, b, c] = ["a", "b", "c"].map((label) => theirs.issue({ dnsNames: [`${label}.example.org`] }));
    const rows = await replica.process([final(a!), final(b!), final(c!)]);
    expect(rows.map(({ sans, severity }) => [sans, severity]).sort()).toEqual([
      [["a.example.org"], "suspicious"],
      [["b.example.org"], "pending"],
      [["c.example.org"], "suspicious"],
    ]);
    expect(new Set(replica.errors.map(String))).toEqual(new Set(["error: refused"]));
  });

  describe("what equals what", () => {
    const serial = Buffer.from("00b7590a0c", "hex");
    test.each(["00B7590A0C", "b7:59:0a:0c", "00:00:b7590a0c", "0xB7590A0C", " B7 59 0A 0C "])(
      "the serial number %j of the inventory",
      async (notation) => {
        const renewal = ours.issue({ dnsNames: names, serial });
        await insertInventory(replica.db, { ...inventoryRow(renewal), serial: notation });
        await replica.process([precertificate(renewal)]);
        expect(await replica.verdicts()).toEqual(["info serial"]);
      },
    );

    test("names are compared as sets, in any case and order, without trailing dots, in A-labels", async () => {
      const renewal = ours.issue({ dnsNames: ["xn--bcher-kva.example.org", "example.org", "*.example.org"] });
      const sans = ["*.EXAMPLE.org", "example.org.", "bücher.Example.org", "example.org"];
      await insertInventory(replica.db, { ...inventoryRow(renewal), sans });
      await replica.process([precertificate(renewal)]);
      expect(await replica.verdicts()).toEqual(["info serial"]);
    });

    test.each(["go", "rust", "calidog"] as const)(
      "a CN that %s puts among the names beyond the SANs is ignored",
      async (server) => {
        const renewal = ours.issue({ dnsNames: names, commonName: "Example Organisation" });
        await insertInventory(replica.db, inventoryRow(renewal));
        const update = precertificate(renewal, { server });
        expect(update.allDomains).toContain("Example Organisation");
        await replica.process([update]);
        expect(await replica.verdicts()).toEqual(["info serial"]);
      },
    );

    test.each([
      ["one name more", { sans: [...names, "mail.example.org"] }],
      ["one name less", { sans: ["example.org"] }],
      ["another name", { sans: ["example.org", "wwww.example.org"] }],
      ["no list of names", { sans: { names } }],
      ["another serial number", { serial: "1234" }],
      ["no serial number", { serial: null }],
      ["an empty serial number", { serial: "00" }],
      ["another beginning", { not_before: 1 }],
      ["another end", { not_after: 2_000_000_000 }],
      ["another TBS hash", { tbs_sha256: "00".repeat(32) }],
    ])("an inventory row with %s does not excuse", async (_, change) => {
      const renewal = ours.issue({ dnsNames: names });
      await insertInventory(replica.db, { ...inventoryRow(renewal), ...change });
      await replica.process([precertificate(renewal)]);
      expect(await replica.verdicts()).toEqual(["suspicious none"]);
    });

    test("a final certificate is never recognised by its serial number", async () => {
      const renewal = ours.issue({ dnsNames: names });
      await insertInventory(replica.db, { ...inventoryRow(renewal), fingerprint_sha1: "ab".repeat(20) });
      await replica.process([final(renewal)]);
      expect(await replica.verdicts()).toEqual(["suspicious none"]);
    });

    test("a fingerprint of nothing in the inventory recognises nothing", async () => {
      const nothing = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
      const row = inventoryRow(ours.issue({ dnsNames: names }));
      await insertInventory(
        replica.db,
        { ...row, fingerprint_sha1: nothing },
        { ...row, fingerprint_sha1: "" },
      );
      await replica.process([precertificate(theirs.issue({ dnsNames: names }), { log: willow })]);
      expect(await replica.verdicts()).toEqual(["suspicious none"]);
    });
  });

  describe("PRECERT_MATCH=tbs", () => {
    const precertMatch = "tbs";
    test("recognises by TBS hash, and by nothing weaker", async () => {
      const [hashed, plain] = [ours.issue({ dnsNames: names }), ours.issue({ dnsNames: names })];
      await insertInventory(replica.db, inventoryRow(hashed, { tbs: true }), inventoryRow(plain));
      await replica.process([precertificate(hashed), precertificate(plain)], { precertMatch });
      expect(await replica.verdicts()).toEqual(["info tbs", "suspicious none"]);
    });

    test("says what is missing where there is no DER", async () => {
      const renewal = ours.issue({ dnsNames: names });
      await insertInventory(replica.db, inventoryRow(renewal, { tbs: true }));
      const rows = await replica.process([precertificate(renewal, { log: willow })], { precertMatch });
      expect(rows).toMatchObject([{ severity: "suspicious", reason: expect.stringContaining("no DER") }]);
      const all = await replica.process([final(renewal)], { precertMatch });
      expect(all.map(({ severity }) => severity)).toEqual(["suspicious", "info"]);
      expect(all[1]!.reason).toMatch(/^All-clear: /);
    });

    test("a final that is in the inventory with other SCTs is recognised by TBS hash", async () => {
      const renewal = ours.issue({ dnsNames: names });
      const row = { ...inventoryRow(renewal, { tbs: true }), fingerprint_sha1: "cd".repeat(20) };
      await insertInventory(replica.db, row);
      await replica.process([final(renewal)], { precertMatch });
      expect(await replica.verdicts()).toEqual(["info tbs"]);
    });
  });

  describe("the grace", () => {
    test("a known certificate is info at once; an unknown one stays pending", async () => {
      const [known, unknown] = [ours.issue({ dnsNames: names }), theirs.issue({ dnsNames: names })];
      await insertInventory(replica.db, inventoryRow(known));
      replica.recorded.length = 0;
      await replica.record([final(known), final(unknown)], { graceSeconds: 3600 });
      await replica.judge({ firstLook: [...replica.recorded] });
      expect((await replica.verdicts()).sort()).toEqual(["info fingerprint", "pending"]);
      await replica.query("UPDATE public.alerts SET judge_at = now() WHERE severity = 'pending'");
      await replica.judge();
      expect((await replica.verdicts()).sort()).toEqual(["info fingerprint", "suspicious none"]);
    });

    test("a first look says nothing of another certificate that has the id since a failover", async () => {
      const known = ours.issue({ dnsNames: names });
      await insertInventory(replica.db, inventoryRow(known));
      replica.recorded.length = 0;
      await replica.record([final(known)], { graceSeconds: 3600 });
      const firstLook = replica.recorded.splice(0);
      await replica.query("TRUNCATE public.alerts RESTART IDENTITY");
      await replica.record([final(theirs.issue({ dnsNames: names }))], { graceSeconds: 3600 });
      expect(replica.recorded.map(({ id }) => id)).toEqual(firstLook.map(({ id }) => id));
      await replica.judge({ firstLook });
      expect(await replica.verdicts()).toEqual(["pending"]);
    });

    test("what lands in the inventory within the grace is info, without all-clear", async () => {
      const renewal = ours.issue({ dnsNames: names });
      replica.recorded.length = 0;
      await replica.record([final(renewal)], { graceSeconds: 3600 });
      await replica.judge({ firstLook: [...replica.recorded] });
      await insertInventory(replica.db, inventoryRow(renewal));
      await replica.query("UPDATE public.alerts SET judge_at = now()");
      await other.judge();
      const [row] = await replica.rows();
      expect(row).toMatchObject({ severity: "info", match_basis: "fingerprint" });
      expect(row!.reason).not.toContain("All-clear");
    });
  });

  test("an observer's old pending certificate is judged, but not sent by a replica that delivers", async () => {
    const [old, fresh] = [theirs.issue({ dnsNames: names }), theirs.issue({ dnsNames: names })];
    await replica.record([final(old)], { deliver: false });
    await replica.query("UPDATE public.alerts SET recorded_at = now() - interval '61 minutes'");
    await replica.record([final(fresh)], { deliver: false });
    await replica.judge({ deliver: true });
    expect(await replica.rows()).toMatchObject([
      { severity: "suspicious", is_due: false },
      { severity: "suspicious", is_due: true },
    ]);
  });
});
