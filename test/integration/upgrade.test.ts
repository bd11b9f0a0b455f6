import { readFileSync } from "node:fs";
import { beforeAll, beforeEach, expect, test } from "vitest";
import { toCertificateRow } from "../../src/alerts/certificate-row.ts";
import { applySchema } from "../../src/db/apply-schema.ts";
import { toJson } from "../../src/db/json.ts";
import type { CertUpdate } from "../../src/feed/message.ts";
import { weigh } from "../../src/issuance/evidence.ts";
import { identify } from "../../src/issuance/identity.ts";
import { describeOnEveryDatabase } from "../support/databases.ts";
import { openReplicas, type Replica } from "../support/outbox.ts";
import { type InventoryRow, insertInventory, matchOf } from "../support/updates.ts";

/**
 * A database that version 0.1.0 has filled: it paged `hijack` (P), recognised the static-ct precertificate of `tiled` by
 * serial number and the final certificate of `known` by fingerprint. `...Copy` is the same under another issuer name.
 */
interface Earlier {
  schema: string;
  /** The statement by which version 0.1.0 records, as long as both versions run side by side. */
  record_statement: string;
  alerts: object[];
  certs: object[];
  updates: Record<
    "hijack" | "tiled" | "known" | "tiledCopy" | "knownCopy",
    Record<"P" | "p" | "t" | "F" | "f", CertUpdate> & { row: InventoryRow }
  >;
}
const earlier: Earlier = JSON.parse(
  readFileSync(new URL("../fixtures/version-0.1.0.json", import.meta.url), "utf8"),
);
const { hijack, tiled, known, tiledCopy, knownCopy } = earlier.updates;

describeOnEveryDatabase("a database that version 0.1.0 has filled", (open) => {
  let replica: Replica;
  beforeAll(async () => {
    const opened = await openReplicas(open);
    replica = opened.replica;
    return opened.close;
  });
  beforeEach(async () => {
    await replica.query("DROP TABLE public.alerts, public.certs, public.intent_current");
    await replica.query(earlier.schema);
    for (const table of ["alerts", "certs"] as const) {
      await replica.query(
        `INSERT INTO public.${table} SELECT * FROM json_populate_recordset(NULL::public.${table}, $1)`,
        [JSON.stringify(earlier[table])],
      );
    }
    await replica.query(
      "SELECT setval('public.alerts_id_seq', 3); UPDATE public.alerts SET recorded_at = now()",
    );
    await applySchema(replica.db, 60_000);
    replica.errors.length = 0;
  });

  /** What is there beyond the three events of version 0.1.0. */
  const news = async () => {
    const rows = await replica.query<{ type: string; basis: string }>(
      "SELECT event_type AS type, match_basis AS basis FROM public.alerts WHERE id > 3 ORDER BY id",
    );
    expect(replica.errors).toEqual([]);
    return rows.map(({ type, basis }) => `${type.replace("certificate.", "")} ${basis}`);
  };

  test("stays silent about everything that version 0.1.0 has seen, in every form", async () => {
    for (const { P, p, t, F, f } of [hijack, tiled, known]) await replica.process([P, p, t, F, f]);
    expect(await news()).toEqual([]);
  });

  test("closes the incident of an earlier page when its certificate enters the inventory", async () => {
    await insertInventory(replica.db, hijack.row);
    await replica.process([hijack.F]);
    expect(await news()).toEqual(["cleared fingerprint"]);
    const keys = await replica.query<{ key: string | null }>(
      "SELECT incident_key AS key FROM public.alerts WHERE id IN (1, 4) ORDER BY id",
    );
    expect(keys[0]).toEqual(keys[1]);
    expect(keys[0]!.key).toMatch(/^[0-9a-f]{32}$/);
  });

  test("has given away its excuses", async () => {
    await replica.process([tiledCopy.t, knownCopy.t]);
    expect(await news()).toEqual(["suspicious none", "suspicious none"]);
  });

  test("an old page silences no certificate that only claims its fingerprint", async () => {
    const liar = { ...knownCopy.f, fingerprintSha1: hijack.P.fingerprintSha1 };
    await replica.process([liar]);
    expect(await news()).toEqual(["suspicious none"]);
  });

  /** What version 0.1.0 makes of a message: the row of then, by the statement of then. */
  async function recordAsEarlier(update: CertUpdate): Promise<number> {
    const { key, tbsSha256 } = identify(update).earlier;
    const row = {
      ...toCertificateRow(update, weigh(update), matchOf(update)),
      certificate_key: key,
      tbs_sha256: tbsSha256,
    };
    const recorded = await replica.query(earlier.record_statement, [toJson([row]), 0, true]);
    return recorded.length;
  }

  test("a replica of version 0.1.0 beside this one records nothing that this one has recorded", async () => {
    await replica.query("TRUNCATE public.alerts");
    const { P, p, F, f } = hijack;
    for (const update of [P, p, F, f]) {
      await replica.process([update]);
      expect(await recordAsEarlier(update)).toBe(0);
    }
  });

  test("what a replica of version 0.1.0 beside this one has recorded makes one event with this one", async () => {
    await replica.query("TRUNCATE public.alerts");
    const { P, F, f, t } = hijack;
    for (const update of [t, P, F, f]) {
      await recordAsEarlier(update);
      await replica.record([update]);
      await replica.judge();
    }
    expect(await replica.verdicts()).toEqual(["suspicious none"]);
  });
});
