-- Raises unless table schema_jobs stands with its columns, rules and indexes, belongs to the owner of the registry,
-- has row-level security without FORCE, and no other role may touch it.
DO $verify$
DECLARE
    registry record;
    problem  text;
BEGIN
    SELECT c.oid, c.relrowsecurity, c.relforcerowsecurity, c.relowner, c.relacl, n.nspowner INTO registry
    FROM pg_catalog.pg_namespace AS n
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid
    WHERE n.nspname = 'edu_matrix_hub_schema' AND c.relname = 'schema_jobs' AND c.relkind = 'r';
    IF registry.oid IS NULL THEN
        RAISE EXCEPTION 'table schema_jobs is missing';
    ELSIF registry.relowner <> registry.nspowner THEN
        RAISE EXCEPTION 'table schema_jobs does not belong to the owner of the registry';
    ELSIF NOT registry.relrowsecurity OR registry.relforcerowsecurity THEN
        RAISE EXCEPTION 'table schema_jobs needs row-level security, and not FORCE';
    ELSIF EXISTS (SELECT FROM aclexplode(registry.relacl) AS a WHERE a.grantee <> registry.relowner) THEN
        RAISE EXCEPTION 'others than its owner have privileges on table schema_jobs';
    END IF;
    SELECT string_agg(w.name, ', ') INTO problem
    FROM unnest(ARRAY[
        'id', 'kind', 'backup_id', 'schema_id', 'state', 'attempt', 'epoch', 'holder', 'heartbeat_at', 'sandbox',
        'error', 'requested_by', 'requested_at', 'not_before', 'started_at', 'finished_at', 'failures', 'reason',
        'subject_kind', 'subject_id', 'object_kind', 'object_namespace', 'object_name', 'object_uid']) AS w (name)
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
                      WHERE a.attrelid = registry.oid AND a.attname = w.name AND a.attnum > 0 AND NOT a.attisdropped);
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'table schema_jobs lacks columns: %', problem;
    END IF;
    SELECT string_agg(w.name, ', ') INTO problem
    FROM unnest(ARRAY[
        'schema_jobs_pkey', 'schema_jobs_open_subject_key', 'schema_jobs_waiting', 'schema_jobs_schema_id',
        'schema_jobs_backup_id', 'schema_jobs_started_at']) AS w (name)
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
                      WHERE i.indrelid = registry.oid AND c.relname = w.name AND i.indisvalid);
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'table schema_jobs lacks indexes: %', problem;
    END IF;
    SELECT string_agg(a.attname, ', ') INTO problem
    FROM pg_catalog.pg_attribute AS a
    WHERE a.attrelid = registry.oid AND a.attname IN ('backup_id', 'schema_id') AND a.attnotnull;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'table schema_jobs has no place for a job without: %', problem;
    END IF;
    SELECT string_agg(w.name, ', ') INTO problem
    FROM (VALUES ('schema_jobs_kind_check', '_job_kinds()'), ('schema_jobs_subject_check', 'subject_kind'),
                 ('schema_jobs_state_check', 'requested')) AS w (name, word)
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS c
                      WHERE c.conrelid = registry.oid AND c.conname = w.name AND c.convalidated
                        AND position(w.word IN pg_catalog.pg_get_constraintdef(c.oid)) > 0);
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'table schema_jobs lacks rules: %', problem;
    END IF;
END
$verify$;
