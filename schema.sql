-- The tables of certwatch. Apply it again and again, with `certwatch migrate` or
-- `psql "$POSTGRES_DSN" -f schema.sql`: it creates what is missing, adds columns and
-- indexes to public.alerts, and never touches a public.certs or public.intent_current
-- (table or view) that is already there. PostgreSQL 13 or later.
--
-- Tables and columns come in one transaction. After it each index of public.alerts is built CONCURRENTLY: writes go on.

BEGIN;

-- Whoever may create in another schema of the search path cannot stand in for a type, function or operator.
SET LOCAL search_path = pg_catalog;

-- Two migrations at the same moment wait for each other.
DO $$ BEGIN PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('certwatch schema')); END $$;

-- ---------------------------------------------------------------------------
-- Upstream tables: yours. certwatch only reads them.
-- ---------------------------------------------------------------------------

-- The watch list: one domain a row; every name below it is covered too.
CREATE TABLE IF NOT EXISTS public.intent_current (
  fqdn TEXT
);

-- The inventory: the certificates that you issued yourself.
DO $$
BEGIN
  IF pg_catalog.to_regclass('public.certs') IS NULL THEN
    CREATE TABLE public.certs (
      fingerprint_sha1 TEXT PRIMARY KEY,  -- SHA-1 of the DER, lower-case hex, no colons
      serial           TEXT,              -- hex, in any notation
      sans             JSONB NOT NULL,    -- ["example.org", "*.example.org"]
      not_before       BIGINT NOT NULL,   -- epoch seconds
      not_after        BIGINT NOT NULL,   -- epoch seconds
      source           TEXT,              -- who put it here
      added_at         BIGINT NOT NULL,   -- epoch seconds
      tbs_sha256       TEXT               -- SHA-256 of the TBSCertificate without poison and SCT list
    );
    CREATE INDEX certs_not_after ON public.certs (not_after);
    -- Precertificates are looked up by these two. `certwatch migrate --inventory` adds them to a table that was there before.
    CREATE INDEX certs_tbs_sha256 ON public.certs (tbs_sha256);
    CREATE INDEX certs_serial ON public.certs (pg_catalog.ltrim(pg_catalog.upper(pg_catalog.regexp_replace(serial, '[^0-9A-Fa-f]', '', 'g')), '0'));
  END IF;
END $$;

-- Keys of yours, known before any certificate has them. Not read yet: made here so that one migration is enough.
DO $$
BEGIN
  IF pg_catalog.to_regclass('public.known_keys') IS NULL THEN
    CREATE TABLE public.known_keys (
      spki_sha256 TEXT NOT NULL,    -- SHA-256 of the SubjectPublicKeyInfo, lower-case hex
      dns_names   JSONB,            -- the names that the key may have; null: any watched name
      note        TEXT,
      source      TEXT,             -- who put it here, and alone changes it
      added_at    BIGINT NOT NULL,  -- epoch seconds
      expires_at  BIGINT            -- epoch seconds; null: until it is removed
    );
    CREATE INDEX known_keys_spki_sha256 ON public.known_keys (spki_sha256);
  END IF;
END $$;

-- Keys that are no longer yours, whatever the other tables say. Not read yet.
CREATE TABLE IF NOT EXISTS public.revoked_keys (
  spki_sha256 TEXT PRIMARY KEY,
  revoked_at  BIGINT NOT NULL,  -- epoch seconds
  note        TEXT
);

-- ---------------------------------------------------------------------------
-- When certificate updates came in, written by all replicas. Not written yet.
-- ---------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS public.certwatch_coverage (
  hour    BIGINT PRIMARY KEY,   -- hours since 1970-01-01 00:00 UTC
  minutes BIGINT NOT NULL       -- a bit for each minute
);

-- ---------------------------------------------------------------------------
-- alerts: what certwatch writes, and its outbox.
-- One row is one event, or one certificate that is not judged yet.
-- ---------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS public.alerts (
  id          BIGSERIAL PRIMARY KEY,
  fingerprint TEXT NOT NULL,                        -- SHA-1 of the DER, lower-case hex; '' where unknown
  sans        JSONB NOT NULL,                       -- the names of the certificate, as received
  matched     JSONB NOT NULL,                       -- the watch entries that they match, sorted
  issuer      TEXT,
  seen_at     BIGINT NOT NULL,                      -- epoch seconds, by the feed's clock
  delivered   BOOLEAN NOT NULL DEFAULT FALSE,       -- the receiver answered 2xx
  severity    TEXT NOT NULL DEFAULT 'suspicious'    -- pending (in its grace), then info or suspicious for good
);

ALTER TABLE public.alerts
  -- Identity. Rows from before certwatch have none of it and are left alone.
  ADD COLUMN IF NOT EXISTS issuance_id     TEXT,         -- SHA-256 over what one act of issuing has in common
  ADD COLUMN IF NOT EXISTS certificate_key TEXT,         -- which certificate: the same one again is silent
  ADD COLUMN IF NOT EXISTS tbs_sha256      TEXT,         -- as certs.tbs_sha256; of the event: of any certificate merged into it
  ADD COLUMN IF NOT EXISTS der_state       TEXT,         -- read, unreadable (no TBS hash), junk; null: the feed sent no DER
  ADD COLUMN IF NOT EXISTS event_number    INTEGER,      -- 0, 1, ...: events of one issuance and severity; null while pending
  ADD COLUMN IF NOT EXISTS merged_keys     TEXT[],       -- other keys of this certificate, and the keys of those that were merged into it
  ADD COLUMN IF NOT EXISTS serial_key      TEXT,         -- hash of serial number, validity and names
  ADD COLUMN IF NOT EXISTS excuse_key      TEXT,         -- its serial_key, in the event that alone is excused by it
  ADD COLUMN IF NOT EXISTS excuse_until    BIGINT,       -- the certificate's not_after, epoch seconds: so long the excuse is of use
  ADD COLUMN IF NOT EXISTS excused_by      TEXT,         -- certs.fingerprint_sha1 that recognised it; 0.1.0 kept the excuse by this alone
  ADD COLUMN IF NOT EXISTS spki_sha256     TEXT,         -- SHA-256 of the SubjectPublicKeyInfo (not written yet)
  ADD COLUMN IF NOT EXISTS der             BYTEA,        -- the certificate, up to 64 kB, of pending rows and suspicious events
  ADD COLUMN IF NOT EXISTS row_bytes       INTEGER,      -- about what the row takes in memory once it is read
  -- Verdict.
  ADD COLUMN IF NOT EXISTS recorded_at     TIMESTAMPTZ,  -- when certwatch recorded it, by the database's clock
  ADD COLUMN IF NOT EXISTS judge_at        TIMESTAMPTZ,  -- end of the grace
  ADD COLUMN IF NOT EXISTS match_basis     TEXT,         -- fingerprint, tbs, serial or none
  ADD COLUMN IF NOT EXISTS reason          TEXT,         -- the verdict in one sentence
  ADD COLUMN IF NOT EXISTS event_type      TEXT,         -- certificate.suspicious, .escalated, .cleared or .known; null while pending
  -- Incidents. A suspicious event opens one, an all-clear closes it.
  ADD COLUMN IF NOT EXISTS incident_key    TEXT,         -- the same in the page and in its all-clear
  ADD COLUMN IF NOT EXISTS cleared_at      TIMESTAMPTZ,  -- when the all-clear of this suspicious event was decided
  ADD COLUMN IF NOT EXISTS merged_at       TIMESTAMPTZ,  -- when the last certificate was merged into this event
  ADD COLUMN IF NOT EXISTS payload         JSONB,        -- the webhook's body, less what the verdict adds
  -- A person said "this one is ours". Not written yet.
  ADD COLUMN IF NOT EXISTS accepted_at     TIMESTAMPTZ,
  ADD COLUMN IF NOT EXISTS accepted_note   TEXT,
  ADD COLUMN IF NOT EXISTS accepts         BIGINT,       -- in the all-clear that this made: the id of the event
  -- Delivery.
  ADD COLUMN IF NOT EXISTS next_attempt_at TIMESTAMPTZ,  -- set while there is something to deliver
  ADD COLUMN IF NOT EXISTS lease_until     TIMESTAMPTZ,  -- a replica works on it until then
  ADD COLUMN IF NOT EXISTS attempts        INTEGER NOT NULL DEFAULT 0,  -- whose outcome is known
  ADD COLUMN IF NOT EXISTS expired_claims  INTEGER NOT NULL DEFAULT 0,  -- leases that ran out without an outcome
  ADD COLUMN IF NOT EXISTS postponed_since TIMESTAMPTZ,  -- the receiver has answered "later" (429, or 503 with Retry-After) since then
  ADD COLUMN IF NOT EXISTS last_error      TEXT,         -- of the last failed attempt, or why the row is incomplete
  ADD COLUMN IF NOT EXISTS delivered_at    TIMESTAMPTZ,
  ADD COLUMN IF NOT EXISTS skipped_at      TIMESTAMPTZ,  -- a template sends nothing for events of this type (not written yet)
  ADD COLUMN IF NOT EXISTS given_up_at     TIMESTAMPTZ;  -- attempts used up; `certwatch redeliver` tries again

-- A row is changed twice or more within seconds of its insertion. Room beside it keeps the versions in its page: less to
-- log and to write, and a claim of its own touches no index.
ALTER TABLE public.alerts SET (fillfactor = 60);

-- Compressed twice is slower and no smaller.
ALTER TABLE public.alerts ALTER COLUMN der SET STORAGE EXTERNAL;

COMMIT;

-- Whether an inventory row's own certificate was seen, in any form.
CREATE INDEX CONCURRENTLY IF NOT EXISTS alerts_fingerprint ON public.alerts (fingerprint) WHERE fingerprint OPERATOR(pg_catalog.<>) '';
CREATE INDEX CONCURRENTLY IF NOT EXISTS alerts_tbs_sha256 ON public.alerts (tbs_sha256) WHERE tbs_sha256 IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS alerts_serial_key ON public.alerts (serial_key) WHERE serial_key IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS alerts_seen_at ON public.alerts (seen_at);

-- A certificate is recorded once, whichever replica comes first.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS alerts_certificate_key ON public.alerts (certificate_key);

-- Two replicas that judge certificates of one issuance at the same moment take the same
-- number; one of them fails, looks again, and finds the other's event.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS alerts_event ON public.alerts (issuance_id, severity, event_number);

-- One serial number with one validity and one set of names excuses one issuance, whoever decides first.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS alerts_excuse_key ON public.alerts (excuse_key) WHERE excuse_key IS NOT NULL;
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS alerts_excused_by ON public.alerts (excused_by);

-- An accepted event has one all-clear.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS alerts_accepts ON public.alerts (accepts) WHERE accepts IS NOT NULL;

CREATE INDEX CONCURRENTLY IF NOT EXISTS alerts_to_judge ON public.alerts (judge_at) WHERE severity OPERATOR(pg_catalog.=) 'pending';
CREATE INDEX CONCURRENTLY IF NOT EXISTS alerts_to_deliver ON public.alerts (severity DESC, next_attempt_at)
  WHERE next_attempt_at IS NOT NULL;

CREATE INDEX CONCURRENTLY IF NOT EXISTS alerts_given_up ON public.alerts (given_up_at) WHERE given_up_at IS NOT NULL;
-- Of observer mode: a replica that delivers looks here for what it may adopt.
CREATE INDEX CONCURRENTLY IF NOT EXISTS alerts_observed ON public.alerts (recorded_at)
  WHERE next_attempt_at IS NULL AND given_up_at IS NULL AND NOT delivered;
CREATE INDEX CONCURRENTLY IF NOT EXISTS alerts_undelivered ON public.alerts (recorded_at)
  WHERE next_attempt_at IS NOT NULL AND severity OPERATOR(pg_catalog.<>) 'pending';
CREATE INDEX CONCURRENTLY IF NOT EXISTS alerts_incident_key ON public.alerts (incident_key) WHERE incident_key IS NOT NULL;
-- Open incidents are looked up in the inventory again and again.
CREATE INDEX CONCURRENTLY IF NOT EXISTS alerts_open ON public.alerts (recorded_at)
  WHERE severity OPERATOR(pg_catalog.=) 'suspicious' AND cleared_at IS NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS alerts_suspicious ON public.alerts (recorded_at) WHERE severity OPERATOR(pg_catalog.=) 'suspicious';
