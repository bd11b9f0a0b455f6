import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { CertUpdate } from "../../src/feed/message.ts";
import { weigh } from "../../src/issuance/evidence.ts";
import { identify } from "../../src/issuance/identity.ts";
import { describeOnEveryDatabase } from "../support/databases.ts";
import { dns, extensionOf, oddCertificate } from "../support/odd-certificates.ts";
import { openReplicas, type Replica, startAfresh } from "../support/outbox.ts";
import {
  copyOf,
  final,
  insertInventory,
  inventoryRow,
  oak,
  ours,
  precertificate,
  sha1Of,
  theirs,
  willow,
} from "../support/updates.ts";

// What a message is evidence of: the certificate in its DER, or, without DER, a claim. A lying feed beside an honest one
// must neither silence nor excuse what the honest one brings.

const names = ["example.org", "www.example.org"];
const base64 = (bytes: Uint8Array | string) => Buffer.from(bytes).toString("base64");

describeOnEveryDatabase("evidence", (open) => {
  let replica: Replica;
  beforeAll(async () => {
    const opened = await openReplicas(open);
    replica = opened.replica;
    return opened.close;
  });
  beforeEach(() => startAfresh(replica));

  const own = (options = {}) => {
    const issuance = ours.issue({ dnsNames: names });
    return { issuance, row: inventoryRow(issuance, options) };
  };
  const claimOf = (update: CertUpdate, change: Partial<CertUpdate> = {}): CertUpdate => ({
    ...update,
    asDerBase64: null,
    ...change,
  });

  describe("a liar before an honest feed", () => {
    test("who sends an own certificate's DER under the fingerprint of a hijack silences nothing", async () => {
      const { issuance, row } = own({ tbs: true });
      await insertInventory(replica.db, row);
      const hijack = final(theirs.issue({ dnsNames: ["login.example.org"] }), { feed: "lite" });
      const before = await replica.metric("ct_contradictions_total");
      const lie = {
        ...final(issuance),
        fingerprintSha1: hijack.fingerprintSha1,
        allDomains: hijack.allDomains,
      };
      const rows = await replica.process([lie, hijack]);
      expect(await replica.verdicts()).toEqual(["info fingerprint", "suspicious none"]);
      expect(rows.map(({ sans }) => sans)).toEqual([names, ["login.example.org"]]);
      expect(await replica.metric("ct_contradictions_total")).toBe(before! + 1);
    });

    test("who claims an own certificate's public fields under the fingerprint of a hijack silences nothing", async () => {
      const { issuance, row } = own();
      await insertInventory(replica.db, row);
      const hijack = final(theirs.issue({ dnsNames: ["login.example.org"] }), { feed: "lite" });
      const claim = claimOf(precertificate(issuance), {
        fingerprintSha1: hijack.fingerprintSha1,
        issuerCn: "Nobody",
      });
      await replica.process([claim, hijack]);
      expect(await replica.verdicts()).toEqual(["info serial", "suspicious none"]);
    });

    test("who puts junk in the place of the DER gets no excuse, and the real certificate is known", async () => {
      const { issuance, row } = own();
      await insertInventory(replica.db, row);
      await replica.process([{ ...final(issuance), asDerBase64: base64("junk") }, final(issuance)]);
      expect(await replica.verdicts()).toEqual(["suspicious none", "info fingerprint"]);
    });

    test("who writes the same junk into every message silences nothing", async () => {
      const hijacks = ["a.example.org", "b.example.org"].map((name) => theirs.issue({ dnsNames: [name] }));
      const junk = hijacks.map((hijack) => ({
        ...final(hijack),
        asDerBase64: base64("junk"),
        fingerprintSha1: null,
      }));
      await replica.process([...junk, ...junk]);
      expect(await replica.verdicts()).toEqual(["suspicious none", "suspicious none"]);
    });

    test("who repeats a known certificate's fields as another kind may cry wolf, but silences nothing", async () => {
      const { issuance, row } = own({ tbs: true });
      await insertInventory(replica.db, { ...row, fingerprint_sha1: "ab".repeat(20) });
      const claim = claimOf(precertificate(issuance), { updateType: "X509LogEntry" });
      await replica.process([precertificate(issuance), claim]);
      expect(await replica.verdicts()).toEqual(["info tbs", "suspicious none"]);
    });
  });

  describe("the DER decides", () => {
    test.each([
      ["no fingerprint", { fingerprintSha1: null }],
      ["a wrong fingerprint", { fingerprintSha1: "ab".repeat(20) }],
    ])("a final certificate with DER and %s is found", async (_, change) => {
      const { issuance, row } = own();
      await insertInventory(replica.db, row);
      await replica.process([{ ...final(issuance), ...change }]);
      expect(await replica.verdicts()).toEqual(["info fingerprint"]);
    });

    test("over its own names; names of the JSON alone add matches and nothing else", async () => {
      const { issuance, row } = own({ tbs: true });
      await insertInventory(replica.db, row);
      const before = await replica.metric("ct_contradictions_total");
      const added = ["added.example.org"];
      const rows = await replica.process([{ ...precertificate(issuance), allDomains: [...names, ...added] }]);
      expect(rows[0]).toMatchObject({ severity: "info", match_basis: "tbs", sans: names });
      const [payload] = await replica.query("SELECT payload -> 'matched_sans' AS sans FROM public.alerts");
      expect(payload).toEqual({ sans: [...added, ...names].sort() });
      expect(await replica.metric("ct_contradictions_total")).toBe(before! + 1);
    });

    test("names that the JSON leaves out match as well", async () => {
      const hijack = theirs.issue({ dnsNames: ["a.example.org", "b.example.org"] });
      await replica.process([{ ...final(hijack), allDomains: ["a.example.org"] }]);
      const [payload] = await replica.query("SELECT payload -> 'matched_sans' AS sans FROM public.alerts");
      expect(payload).toEqual({ sans: ["a.example.org", "b.example.org"] });
    });

    test("a fingerprint in the inventory is not enough where both TBS hashes are known and differ", async () => {
      const { row } = own({ tbs: true });
      const hijack = theirs.issue({ dnsNames: names });
      await insertInventory(replica.db, { ...row, fingerprint_sha1: sha1Of(hijack.certificateDer) });
      await replica.process([final(hijack)]);
      expect(await replica.verdicts()).toEqual(["suspicious none"]);
    });
  });

  describe("with and without DER, side by side", () => {
    const lite = (update: CertUpdate) => claimOf(update);

    test("a hijack is one event, whichever comes first", async () => {
      for (const withDerFirst of [true, false]) {
        await replica.emptyTables();
        const hijack = theirs.issue({ dnsNames: names });
        const updates = [precertificate(hijack), final(hijack)].flatMap((update) =>
          withDerFirst ? [update, lite(update)] : [lite(update), update],
        );
        updates.push(precertificate(hijack, { log: willow }));
        await replica.process(updates);
        expect(await replica.verdicts()).toEqual(["suspicious none"]);
      }
    });

    test("an own renewal is one info, though only its DER shows that it is known", async () => {
      const { issuance, row } = own({ tbs: true });
      const others = { sans: ["elsewhere.example"], serial: "01" };
      await insertInventory(replica.db, { ...row, ...others, fingerprint_sha1: "ab".repeat(20) });
      await replica.process([precertificate(issuance), lite(precertificate(issuance))]);
      await replica.process([precertificate(issuance, { log: willow })]);
      expect(await replica.verdicts()).toEqual(["info tbs"]);
    });

    test("the message without DER waits for the one with DER, which has the same end of its grace", async () => {
      const { issuance, row } = own({ tbs: true });
      const others = { sans: ["elsewhere.example"], serial: "01" };
      await insertInventory(replica.db, { ...row, ...others, fingerprint_sha1: "ab".repeat(20) });
      await replica.record([lite(precertificate(issuance))], { graceSeconds: 30 });
      await replica.record([precertificate(issuance)], { graceSeconds: 60 });
      const ends = await replica.query("SELECT DISTINCT judge_at FROM public.alerts");
      expect(ends).toHaveLength(1);
      await replica.judge({ firstLook: replica.recorded.slice(-1) });
      expect(await replica.verdicts()).toEqual(["pending", "info tbs"]);
      await replica.query("UPDATE public.alerts SET judge_at = now() WHERE severity = 'pending'");
      await replica.judge();
      expect(await replica.verdicts()).toEqual(["info tbs"]);
    });

    test("a certificate without DER is not called suspicious while one with DER of its issuance has its grace", async () => {
      const hijack = theirs.issue({ dnsNames: names });
      await replica.record([precertificate(hijack, { log: willow })], { graceSeconds: 20 });
      await replica.record([precertificate(hijack)], { graceSeconds: 20 });
      const tiled = "certificate_key LIKE 'issuance:%'";
      const ago = (seconds: number) =>
        replica.query(`UPDATE public.alerts SET recorded_at = now() - interval '${seconds} s',
                              judge_at = now() - interval '${seconds - 20} s' WHERE ${tiled}`);
      await ago(25);
      await replica.judge();
      expect(await replica.verdicts()).toEqual(["pending", "pending"]);
      await ago(41); // one grace more is over
      await replica.judge();
      expect((await replica.verdicts()).sort()).toEqual(["pending", "suspicious none"]);
    });

    test("PRECERT_MATCH=tbs calls a static-ct precertificate without DER suspicious, whatever else is known", async () => {
      const { issuance, row } = own({ tbs: true });
      await insertInventory(replica.db, row);
      const tiled = precertificate(issuance, { log: willow });
      await replica.process([precertificate(issuance), tiled], { precertMatch: "tbs" });
      expect(await replica.verdicts()).toEqual(["info tbs", "suspicious none"]);
    });
  });

  describe("the CN that servers append to the names", () => {
    const withCn = (names: string[], commonName: string) => ours.issue({ dnsNames: names, commonName });

    test("excuses no name that is watched, where there is no DER", async () => {
      const known = ours.issue({ dnsNames: ["own.example.org"] });
      await insertInventory(replica.db, { ...inventoryRow(known), sans: ["login.example.org"] });
      const copy = claimOf(precertificate(known, { log: willow }), {
        allDomains: ["login.example.org", "own.example.org"],
        subjectCn: "own.example.org",
      });
      await replica.process([copy]);
      expect(await replica.verdicts()).toEqual(["suspicious none"]);
    });

    test("is left out of account where nobody watches it, or where the DER shows that it is no name", async () => {
      for (const log of [willow, oak]) {
        await replica.emptyTables();
        const renewal = withCn(names, "Our renewal");
        await insertInventory(replica.db, inventoryRow(renewal));
        await replica.process([precertificate(renewal, { log })]);
        expect(await replica.verdicts()).toEqual(["info serial"]);
      }
      const watched = withCn(names, "cn.example.org");
      await insertInventory(replica.db, inventoryRow(watched));
      await replica.process([precertificate(watched)]);
      expect((await replica.verdicts()).at(-1)).toBe("info serial");
    });

    test("IP, e-mail and URI names of an inventory row are left out of account, and DNS: before a name", async () => {
      const renewal = ours.issue({ dnsNames: names });
      const sans = [
        `DNS:${names[0]}`,
        names[1],
        "192.0.2.1",
        "IP Address:192.0.2.2",
        "a@example.org",
        "2001:db8::1",
      ];
      await insertInventory(replica.db, { ...inventoryRow(renewal), sans });
      await replica.process([precertificate(renewal, { log: willow })]);
      expect(await replica.verdicts()).toEqual(["info serial"]);
    });
  });

  describe("DER without a TBS hash that certwatch can read", () => {
    const sctList = extensionOf("1.3.6.1.4.1.11129.2.4.2", Buffer.from([4, 0]));
    const odd = oddCertificate({ subjectAltName: [dns("example.org")], extensions: [sctList, sctList] });
    const asUpdate = (der: Uint8Array, updateType: string, sourceName = "argon"): CertUpdate => {
      const message = { ...final(ours.issue({ dnsNames: ["example.org"] })), sourceName, updateType };
      const update = { ...message, asDerBase64: base64(der), fingerprintSha1: sha1Of(der) };
      return { ...update, ...weigh(update).update };
    };
    const precert = asUpdate(odd.precertificateDer, "PrecertLogEntry");
    const finalOne = asUpdate(odd.der, "X509LogEntry");
    /** A row of the inventory with all that the precertificate says in public, and no TBS hash. */
    const row = {
      fingerprint_sha1: "ab".repeat(20),
      serial: precert.serial,
      sans: precert.allDomains,
      not_before: precert.notBeforeEpochSeconds!,
      not_after: precert.notAfterEpochSeconds!,
    };

    test("is no certificate without DER: it gets no excuse, and its final is a second event", async () => {
      await insertInventory(replica.db, row);
      const again = { ...precert, sourceName: "oak" };
      const rows = await replica.process([precert, again, finalOne]);
      expect(await replica.verdicts()).toEqual(["suspicious none", "suspicious none"]);
      for (const { reason } of rows) expect(reason).toContain("cannot compare");
    });

    test("is known by its SHA-1 alone", async () => {
      await insertInventory(replica.db, { ...row, fingerprint_sha1: precert.fingerprintSha1! });
      await replica.process([precert, finalOne]);
      expect(await replica.verdicts()).toEqual(["info fingerprint", "suspicious none"]);
    });
  });

  describe("rows of version 0.1.0", () => {
    /** What 0.1.0 wrote of a hijack that it paged. */
    const page = async (update: CertUpdate) => {
      const { issuanceId, earlier } = identify(update);
      await replica.query(`INSERT INTO public.alerts (fingerprint, sans, matched, seen_at, severity, delivered, issuance_id,
          certificate_key, tbs_sha256, event_number, recorded_at, match_basis, reason, payload)
        VALUES ('${update.fingerprintSha1 ?? ""}', '["example.org"]', '["example.org"]', 1760000000, 'suspicious', true,
          '${issuanceId}', '${earlier.key}', ${earlier.tbsSha256 === null ? "NULL" : `'${earlier.tbsSha256}'`}, 0, now(),
          'none', 'x', '{}')`);
    };

    test("silence what it has paged: the precertificate again, with and without DER, and its final", async () => {
      for (const feed of ["full", "lite"] as const) {
        await replica.emptyTables();
        const hijack = theirs.issue({ dnsNames: names });
        await page(precertificate(hijack, { feed }));
        await replica.process([
          precertificate(hijack),
          precertificate(hijack, { feed: "lite" }),
          precertificate(hijack, { log: willow }),
          final(hijack),
          final(hijack, { feed: "lite" }),
        ]);
        expect(await replica.verdicts()).toEqual(["suspicious none"]);
      }
    });

    test("do not silence another certificate that is said to have the same fingerprint", async () => {
      const known = ours.issue({ dnsNames: names });
      await page(final(known));
      const hijack = theirs.issue({ dnsNames: ["login.example.org"] });
      const update = { ...final(hijack), fingerprintSha1: final(known).fingerprintSha1 };
      await replica.process([update, { ...update, asDerBase64: null }]);
      expect(await replica.verdicts()).toEqual(["suspicious none", "suspicious none"]);
    });
  });

  test("a copy with another key is a second event, whatever came before", async () => {
    const { issuance, row } = own({ tbs: true });
    await insertInventory(replica.db, row);
    await replica.process([precertificate(issuance), precertificate(copyOf(issuance))]);
    expect(await replica.verdicts()).toEqual(["info tbs", "suspicious none"]);
  });
});
