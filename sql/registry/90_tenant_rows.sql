-- A tenant as the operator sees it, apart from what has to be looked up in the catalogue at that moment:
-- whether the schema stands, and what differs there. Every part is one probe of an index, so that one row is as
-- cheap as its share of all.
CREATE OR REPLACE VIEW edu_matrix_hub_schema.tenant_rows AS
SELECT t.id AS schema_id,
       pg_catalog.jsonb_build_object(
           'schema_id', t.id,
           'institution_id', t.institution_id,
           -- The registry's own word, or else what the application's table says.
           'institution_status', (SELECT coalesce(nullif(i.status, 'active'), i.source_status, 'active')
                                  FROM edu_matrix_hub_schema.institutions AS i
                                  WHERE i.id = t.institution_id),
           'schema_name', t.schema_name,
           'status', t.status,
           'access', t.access,
           'access_cause', t.access_cause,
           'taken_over', t.taken_over,
           'recreations', t.recreations,
           'shared_with', t.shared_with,
           'owner', CASE WHEN t.owner_uid IS NOT NULL THEN pg_catalog.jsonb_build_object(
               'cluster', t.owner_cluster, 'namespace', t.owner_namespace, 'name', t.owner_name, 'uid', t.owner_uid,
               'namespace_uid', t.owner_namespace_uid) END,
           'roles', pg_catalog.jsonb_build_object('owner', t.owner_role, 'reader', t.reader_role,
                                                  'writer', t.writer_role),
           'config', t.config,
           'version', t.version,
           'quota_limit', t.quota_limit,
           'storage_bytes', t.storage_used,
           'freed_bytes', nullif(t.freed_bytes, 0),
           'large_objects', t.large_objects || pg_catalog.jsonb_build_object(
               'statement', CASE WHEN t.large_objects ->> 'how' = 'share' THEN (
                   SELECT pg_catalog.format('GRANT SELECT ON pg_catalog.pg_largeobject TO %I', i.owner_role)
                   FROM edu_matrix_hub_schema.installation AS i) END),
           'growth_per_day', t.growth -> 'per_day',
           'table_count', t.table_count,
           'usage_stale', t.usage_stale,
           'usage_at', t.usage_at,
           'size_estimate', CASE WHEN (t.size_estimate ->> 'told')::boolean THEN t.size_estimate - 'seen' END,
           'foreign_tables', CASE WHEN t.foreign_tables IS NOT NULL THEN (
               SELECT pg_catalog.jsonb_build_object(
                   'count', t.foreign_tables -> 'count', 'name', c.relname,
                   'owner', pg_catalog.pg_get_userbyid(c.relowner),
                   'statement', pg_catalog.format('ALTER TABLE %I.%I OWNER TO %I',
                                                  t.schema_name, c.relname, t.owner_role))
               FROM pg_catalog.pg_class AS c WHERE c.oid = (t.foreign_tables ->> 'first')::oid) END,
           'adopted_objects', t.adopted_objects,
           'isolation', t.isolation,
           'credentials', (
               SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                   'purpose', c.purpose, 'login', c.login, 'credential_id', c.credential_id, 'issued_at', c.issued_at,
                   'previous_login', c.previous_login, 'previous_until', c.previous_until,
                   'previous_closed_at', c.previous_closed_at, 'withdrawn_at', c.withdrawn_at,
                   'password_changed', c.password_changed,
                   'connection_limit', c.connection_limit,
                   'statement_timeout_seconds', c.statement_timeout_seconds,
                   'idle_in_transaction_timeout_seconds', c.idle_in_transaction_timeout_seconds) ORDER BY c.purpose)
               FROM edu_matrix_hub_schema.tenant_credentials AS c
               WHERE c.schema_id = t.id),
           'row_security', (
               SELECT pg_catalog.jsonb_build_object(
                   'mode', s.mode, 'digest', s.digest, 'tables', s.table_count, 'uncovered', s.uncovered,
                   'uncovered_count', s.uncovered_count, 'forced', s.forced)
               FROM edu_matrix_hub_schema.tenant_row_security AS s WHERE s.schema_id = t.id),
           'last_backup', (
               SELECT pg_catalog.jsonb_build_object(
                   'backup_id', b.id, 'location', b.location, 'method', b.method, 'completed_at', b.completed_at,
                   'size_bytes', b.size_bytes, 'object_name', b.object_name)
               FROM edu_matrix_hub_schema.schema_backups AS b
               WHERE b.schema_id = t.id AND b.state = 'complete' AND b.completed_at IS NOT NULL
               ORDER BY b.completed_at DESC LIMIT 1),
           'last_operation', (
               SELECT pg_catalog.jsonb_build_object(
                   'type', o.type, 'status', o.status, 'started_at', o.started_at,
                   'duration_ms', o.duration_ms, 'error', o.error)
               FROM edu_matrix_hub_schema.schema_operations AS o
               WHERE o.schema_id = t.id
               ORDER BY o.id DESC LIMIT 1),
           -- Twenty of them, for a user who may make SchemaBackups can make any number.
           'jobs', (
               SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                          'job_id', j.id, 'kind', j.kind, 'state', j.state, 'backup_id', j.backup_id,
                          'attempt', j.attempt, 'error', pg_catalog.left(j.error, 512))
                          ORDER BY j.requested_at, j.id), '[]')
               FROM (SELECT o.* FROM edu_matrix_hub_schema.schema_jobs AS o
                     WHERE o.schema_id = t.id AND o.state IN ('requested', 'running')
                     ORDER BY o.requested_at, o.id LIMIT 20) AS j)
       ) AS document
FROM edu_matrix_hub_schema.tenant_schemas AS t;

-- What the survey reported last about a backup: it reports one again when `updated_at` differs.
ALTER TABLE edu_matrix_hub_schema.schema_backups ADD COLUMN IF NOT EXISTS reported_update timestamptz;
CREATE INDEX IF NOT EXISTS schema_backups_unreported
    ON edu_matrix_hub_schema.schema_backups (id) WHERE reported_update IS DISTINCT FROM updated_at;
