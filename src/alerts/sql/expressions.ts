/**
 * SQL: whether nothing says that the two rows' certificates have different contents. DER without a readable TBS hash
 * equals nothing.
 */
export const sameCertificateBody = (event: string, pending: string) =>
  `(COALESCE(${event}.der_state, 'read') = 'read' AND COALESCE(${pending}.der_state, 'read') = 'read'
    AND (${event}.tbs_sha256 IS NULL OR ${pending}.tbs_sha256 IS NULL OR ${event}.tbs_sha256 = ${pending}.tbs_sha256))`;

/** SQL for the incident key of a suspicious event: its own for each certificate, so also for each copy. */
export const incidentKeyOf = (event: string, suffix = "''") =>
  `pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(${event}.certificate_key || ${suffix}, 'UTF8')), 'hex'), 1, 32)`;

/** SQL: the end of a row's validity, epoch seconds. */
export const notAfterOf = (row: string) => `(${row}.payload ->> 'not_after'::text)::bigint`;
