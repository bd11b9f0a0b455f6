import type { Queryable } from "../../../src/db/statement.ts";
import { byHand } from "../../support/by-hand.ts";

/** What was committed to a row of `alerts`, one entry for each change. */
export interface Change {
  at: Date;
  operation: "INSERT" | "UPDATE" | "DELETE";
  id: number;
  name: string;
  issuanceId: string;
  certificateKey: string;
  severity: string;
  delivered: boolean;
  givenUp: boolean;
  mergedKeys: string[] | null;
  leaseUntil: Date | null;
}

const install = `
  CREATE SCHEMA IF NOT EXISTS chaos;
  CREATE TABLE IF NOT EXISTS chaos.history (
    number BIGSERIAL PRIMARY KEY, at TIMESTAMPTZ NOT NULL, operation TEXT NOT NULL, id BIGINT NOT NULL, name TEXT,
    issuance_id TEXT, certificate_key TEXT, severity TEXT, delivered BOOLEAN, given_up BOOLEAN, merged_keys TEXT[],
    lease_until TIMESTAMPTZ);
  CREATE INDEX IF NOT EXISTS history_name ON chaos.history (name);
  CREATE OR REPLACE FUNCTION chaos.note() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE r public.alerts%ROWTYPE;
    BEGIN
      IF TG_OP = 'DELETE' THEN r := OLD; ELSE r := NEW; END IF;
      INSERT INTO chaos.history (at, operation, id, name, issuance_id, certificate_key, severity, delivered, given_up,
                                 merged_keys, lease_until)
      VALUES (clock_timestamp(), TG_OP, r.id, r.sans ->> 0, r.issuance_id, r.certificate_key, r.severity, r.delivered,
              r.given_up_at IS NOT NULL, r.merged_keys, r.lease_until);
      RETURN NULL;
    END $$;
  DROP TRIGGER IF EXISTS chaos_note ON public.alerts;
  CREATE TRIGGER chaos_note AFTER INSERT OR UPDATE OR DELETE ON public.alerts
    FOR EACH ROW EXECUTE FUNCTION chaos.note();`;

/** From now on every change of `alerts` is noted in the same transaction: what is noted was committed, and all of it. */
export async function keepHistory(db: Queryable): Promise<void> {
  await db.execute({ name: byHand, text: install }, 10_000);
}

export async function readHistory(db: Queryable): Promise<Change[]> {
  return await db.query<Change>(
    {
      name: byHand,
      text: `SELECT at, operation, id, name, issuance_id AS "issuanceId", certificate_key AS "certificateKey", severity,
                    delivered, given_up AS "givenUp", merged_keys AS "mergedKeys",
                    lease_until AS "leaseUntil"
             FROM chaos.history ORDER BY number`,
    },
    30_000,
  );
}
