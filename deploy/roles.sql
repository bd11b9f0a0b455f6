-- The role that the service runs as: it reads the upstream tables, and writes alerts and certwatch_coverage, nothing
-- else. Run this as the owner of the tables (who may also create roles), after schema.sql, as often as you like:
--
--     psql "$OWNERS_DSN" -v role=certwatch -f deploy/roles.sql
--
-- The role has no password and so cannot log in over the network until you give it one, which psql's \password does
-- without writing it into a log or a history, or let it in by certificate (pg_hba.conf, method cert).
-- `certwatch migrate` needs the owner, not this role.

\set ON_ERROR_STOP on
\if :{?role}
\else
  \set role certwatch
\endif

-- Whoever may create in another schema of the search path cannot stand in for a type, function or operator.
SET search_path = pg_catalog;

BEGIN;

SELECT format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION', :'role')
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = :'role')
\gexec

GRANT CONNECT ON DATABASE :"DBNAME" TO :"role";
GRANT USAGE ON SCHEMA public TO :"role";

-- What it was granted before on these tables, and should not have.
REVOKE ALL ON public.intent_current, public.certs, public.known_keys, public.revoked_keys, public.alerts,
  public.certwatch_coverage FROM :"role";
GRANT SELECT ON public.intent_current, public.certs, public.known_keys, public.revoked_keys TO :"role";
GRANT SELECT, INSERT, UPDATE, DELETE ON public.alerts, public.certwatch_coverage TO :"role";
SELECT format('REVOKE ALL ON SEQUENCE %1$s FROM %2$I; GRANT USAGE ON SEQUENCE %1$s TO %2$I',
              pg_catalog.pg_get_serial_sequence('public.alerts', 'id'), :'role')
WHERE pg_catalog.pg_get_serial_sequence('public.alerts', 'id') IS NOT NULL
\gexec

-- Least privilege is what is left when membership in other roles, grants to PUBLIC and ownership are counted as well.
SELECT set_config('certwatch.role', :'role', true) AS role_checked
\gset
DO $$
DECLARE
  excess TEXT;
BEGIN
  SELECT string_agg(p.privilege || ' on ' || t.name, ', ') INTO excess
  FROM (VALUES ('public.intent_current'), ('public.certs'), ('public.known_keys'), ('public.revoked_keys'),
               ('public.alerts'), ('public.certwatch_coverage')) AS t(name)
  CROSS JOIN (VALUES ('INSERT'), ('UPDATE'), ('DELETE'), ('TRUNCATE'), ('TRIGGER')) AS p(privilege)
  WHERE has_table_privilege(current_setting('certwatch.role'), t.name, p.privilege)
    AND NOT (t.name IN ('public.alerts', 'public.certwatch_coverage') AND p.privilege IN ('INSERT', 'UPDATE', 'DELETE'));
  IF excess IS NOT NULL THEN
    RAISE EXCEPTION 'the role % still has %', current_setting('certwatch.role'), excess
      USING HINT = 'It has that as a superuser, as the owner, as a member of another role, or through PUBLIC: choose another role, or revoke it there.';
  END IF;
END $$;

COMMIT;
