import { randomBytes } from "node:crypto";
import { pino } from "pino";
import { Judge } from "../../src/alerts/judge.ts";
import type { CertificateRow } from "../../src/alerts/outbox.ts";
import type { RecordedPayload } from "../../src/alerts/payload.ts";
import { recordCertificates } from "../../src/alerts/sql/record-certificates.ts";
import { parseDsn } from "../../src/db/dsn.ts";
import { type Database, openPool } from "../../src/db/pool.ts";
import { precertificateUpdateType } from "../../src/feed/message.ts";
import type { MatchBasis } from "../../src/inventory/recognise.ts";
import { createMetrics } from "../../src/metrics.ts";
import { byHand } from "../../test/support/by-hand.ts";
import { within } from "../support/within.ts";
import type { OwnCertificate } from "./inventory-table.ts";

/** What judging took, wall time. */
export interface Judging {
  judgedMs: number;
  /** Of it, the statements that look into the inventory. */
  lookUpMs: number;
}

const deadlineMs = 60_000;

/**
 * Records certificates whose grace is over, and has them judged by the service's own judge, in this process.
 *
 * @param expected how each of them is to be recognised.
 * @throws where one is recognised in another way.
 */
export async function judge(
  dsn: string,
  certificates: CertificateRow[],
  expected: MatchBasis,
): Promise<Judging> {
  const pool = openPool(parseDsn(dsn));
  try {
    for (let at = 0; at < certificates.length; at += 500) {
      const batch = certificates.slice(at, at + 500);
      await recordCertificates(pool, batch, { graceSeconds: 0, deliver: true, deadlineMs });
    }
    const judging = await judgeAll(pool, certificates.length);
    const rows = await pool.query<{ basis: string; n: number }>(
      { name: byHand, text: `SELECT match_basis AS basis, count(*)::int AS n FROM public.alerts GROUP BY 1` },
      deadlineMs,
    );
    if (rows.length !== 1 || rows[0]!.basis !== expected || rows[0]!.n !== certificates.length) {
      throw new Error(`not all were recognised by ${expected}: ${JSON.stringify(rows)}`);
    }
    return judging;
  } finally {
    await pool.end();
  }
}

async function judgeAll(pool: Database, count: number): Promise<Judging> {
  let lookUpMs = 0;
  const db: Database = {
    async query(sql, ms) {
      const startMs = performance.now();
      const rows = await pool.query(sql, ms);
      if (sql.name.startsWith("find by ")) lookUpMs += performance.now() - startMs;
      return rows as never;
    },
    execute: (sql, ms) => pool.execute(sql, ms),
    transaction: (ms, work) => pool.transaction(ms, work),
    end: () => pool.end(),
  };
  let judge: Judge | undefined;
  const judged = new Promise<number>((resolve, reject) => {
    let lines = 0;
    const startMs = performance.now();
    // Each verdict is a line of the log, written after its commit.
    const onLine = () => {
      lines += 1;
      if (lines === count) resolve(performance.now() - startMs);
    };
    judge = new Judge({
      db,
      log: pino({ level: "info" }, { write: onLine }),
      metrics: createMetrics({ version: "bench", feeds: [] }),
      graceSeconds: 0,
      precertMatch: "serial",
      deliverer: null, // nobody delivers: events are left unclaimed
      onError: reject,
    });
    judge.loop.start();
  });
  const judgedMs = await within(deadlineMs, judged, `judging ${count} alerts`);
  await judge!.loop.stop();
  return { judgedMs, lookUpMs };
}

const strange = (bytes: number) => randomBytes(bytes).toString("hex");

/** An alert that the inventory's row recognises in this way and in no stronger one. */
export function alertFor(own: OwnCertificate, basis: MatchBasis): CertificateRow {
  const isOwn = { fingerprint: basis === "fingerprint", serial: basis !== "none" };
  const hasOwnTbs = basis === "fingerprint" || basis === "tbs";
  const fingerprint = isOwn.fingerprint ? own.fingerprint : strange(20);
  const payload: RecordedPayload = {
    fingerprint_sha1: fingerprint,
    matched_entries: ["example.org"],
    matched_sans: own.sans,
    all_sans: own.sans,
    issuer_o: "Let's Encrypt",
    issuer_cn: "R11",
    not_before: own.notBefore,
    not_after: own.notAfter,
    lifetime_days: 90,
    source_log: "Google 'Argon2026h1' log",
    cert_link: null,
    serial: isOwn.serial ? own.serial : strange(16),
    update_type: isOwn.fingerprint ? "X509LogEntry" : precertificateUpdateType,
    seen_at: own.notBefore,
    subject_cn: own.sans[0]!,
    is_cn_watched: false,
    is_cn_appended: false,
    names_truncated: 0,
  };
  return {
    certificate_key: `der:${fingerprint}`,
    other_keys: [],
    earlier_key: `sha1:${fingerprint}`,
    earlier_tbs_sha256: null,
    der_state: "read",
    serial_key: strange(32),
    der: null,
    issuance_id: strange(32),
    tbs_sha256: hasOwnTbs ? own.tbsSha256 : strange(32),
    fingerprint,
    sans: own.sans,
    matched: payload.matched_entries,
    issuer: payload.issuer_o,
    seen_at: payload.seen_at,
    payload,
    row_bytes: 1_500,
    last_error: null,
  };
}
