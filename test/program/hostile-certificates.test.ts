import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { Payload } from "../../src/alerts/payload.ts";
import { addToInventory } from "../../src/demo/upstream.ts";
import { byHand } from "../support/by-hand.ts";
import { describeOnEveryDatabase } from "../support/databases.ts";
import { endPrograms } from "../support/program.ts";
import { type Bed, entryOf, messageOf, openBedOn } from "./bed.ts";

type Change = Parameters<typeof messageOf>[1];

const nul = "\u0000";
const loneSurrogate = "\ud800";
/** What becomes of both on the way to the database. */
const replaced = "\ufffd";

/** By the first label of a watched name: what a hostile certificate, log or server may put around it. */
const hostile: Record<string, Change> = {
  "serial-nul": (leaf) => (leaf.serial_number = `0A${nul}0B`),
  "serial-words": (leaf) => (leaf.serial_number = "not hex"),
  "serial-number": (leaf) => (leaf.serial_number = 12),
  "issuer-nul": (leaf) => (leaf.issuer = { CN: nul, O: loneSurrogate, aggregated: `/CN=${nul}` }),
  "issuer-text": (leaf) => (leaf.issuer = "CN=Nobody"),
  "subject-nul": (leaf) => (leaf.subject = { CN: `${nul}.watched.example` }),
  "not-before-1e300": (leaf) => (leaf.not_before = 1e300),
  "not-after-1e300": (leaf) => (leaf.not_after = -1e300),
  "not-before-text": (leaf) => (leaf.not_before = "2026-01-01"),
  "ends-of-time": (leaf) => {
    leaf.not_before = -62_135_596_800;
    leaf.not_after = 253_402_300_799;
  },
  "seen-1e300": (_leaf, data) => (data.seen = 1e300),
  "seen-text": (_leaf, data) => (data.seen = "now"),
  "seen-ancient": (_leaf, data) => (data.seen = -1),
  "link-nul": (_leaf, data) => (data.cert_link = `https://log.example/${nul}`),
  "type-nul": (_leaf, data) => (data.update_type = `Precert${nul}LogEntry`),
  "source-list": (_leaf, data) => (data.source = [loneSurrogate]),
  "source-name-nul": (_leaf, data) => (data.source = { name: nul + loneSurrogate }),
  "fingerprint-nothing": (leaf) => {
    leaf.fingerprint = "DA:39:A3:EE:5E:6B:4B:0D:32:55:BF:EF:95:60:18:90:AF:D8:07:09";
    leaf.sha1 = leaf.fingerprint;
  },
  "no-identity": (leaf) => {
    for (const key of ["fingerprint", "sha1", "serial_number", "issuer", "not_before", "not_after"])
      delete leaf[key];
  },
  "as-der-rubbish": (leaf) => (leaf.as_der = "*** not base64 ***"),
  "precertificate-nul": (leaf, data) => {
    data.update_type = "PrecertLogEntry";
    leaf.serial_number = nul;
    (leaf.all_domains as string[]).push(`${loneSurrogate}.watched.example`);
  },
  "many-names": (leaf) => {
    for (let i = 0; i < 5_000; i += 1) (leaf.all_domains as string[]).push(`n${i}.unwatched.example`);
  },
  "long-name": (leaf) => (leaf.all_domains as unknown[]).push(`${"x".repeat(100_000)}.watched.example`),
  "other-types": (leaf) => (leaf.all_domains as unknown[]).push(null, 7, {}, ["nested.watched.example"]),
};

describeOnEveryDatabase("hostile certificates", (open) => {
  let bed: Bed;
  beforeAll(async () => {
    bed = await openBedOn(open);
  });
  afterEach(endPrograms);
  afterAll(() => bed?.close());

  test("all of one batch are recorded and delivered, and so are their neighbours", async () => {
    const neighbour = entryOf({ dnsNames: ["neighbour.watched.example"] });
    await addToInventory(bed.db, [neighbour.issuance], "test");
    const messages = Object.entries(hostile).map(([label, change]) =>
      messageOf([`${label}.watched.example`], change),
    );
    messages.push(messageOf([`a${nul}.watched.example`, `b${loneSurrogate}.watched.example`], () => {}));
    const program = await bed.start();

    // While the table is locked everything waits, and then goes into one batch (but the first, alone in its own).
    await bed.db.transaction(20_000, async (tx) => {
      await tx.execute({ name: byHand, text: "LOCK TABLE public.alerts IN EXCLUSIVE MODE" }, 5_000);
      await bed.simulator.publish(entryOf({ dnsNames: ["first.watched.example"] }));
      for (const message of messages) await bed.simulator.sendRaw(message);
      await bed.simulator.publish(neighbour);
      await program.waitForMetric("certwatch_alerts_waiting", (waiting) => waiting === messages.length + 2);
    });
    await bed.receiver.waitForCount(messages.length + 2);

    const payloads = bed.receiver.deliveries.map(({ json }) => json as Payload);
    const of = (name: string) => payloads.find(({ matched_sans }) => matched_sans.includes(name));
    for (const label of Object.keys(hostile)) expect(of(`${label}.watched.example`), label).toBeDefined();
    expect(of("neighbour.watched.example")).toMatchObject({ severity: "info", match_basis: "fingerprint" });
    const replacedNames = [`a${replaced}.watched.example`, `b${replaced}.watched.example`];
    expect(of(replacedNames[0]!)?.matched_sans).toEqual(replacedNames);
    expect(of("not-before-1e300.watched.example")).toMatchObject({
      severity: "suspicious",
      not_before: null,
    });
    expect(of("not-after-1e300.watched.example")).toMatchObject({ not_after: null, lifetime_days: null });
    expect(of("fingerprint-nothing.watched.example")?.fingerprint_sha1).toBeNull();
    expect(of("no-identity.watched.example")?.serial).toBeNull();
    expect(of("many-names.watched.example")?.all_sans).toHaveLength(5_001);
    const nowSeconds = Date.now() / 1000;
    for (const label of ["seen-1e300", "seen-text"]) {
      expect(Math.abs(of(`${label}.watched.example`)!.seen_at - nowSeconds)).toBeLessThan(600);
    }

    // None of them had to be stored stripped, and none failed anything.
    const metrics = await program.metrics();
    expect(metrics.get("certwatch_alerts_dropped_total")).toBe(0);
    for (const kind of ["bad-data", "fatal", "retryable"])
      expect(metrics.get(`certwatch_database_errors_total{kind="${kind}"}`)).toBe(0);
    expect(await program.stop()).toBe(0);
    const rows = await bed.db.query<{ rows: number; delivered: number }>(
      {
        name: byHand,
        text: "SELECT count(*) AS rows, count(*) FILTER (WHERE delivered) AS delivered FROM public.alerts",
      },
      5_000,
    );
    expect(rows).toEqual([{ rows: messages.length + 2, delivered: messages.length + 2 }]);
  });
});
