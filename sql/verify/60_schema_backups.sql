-- Raises unless table schema_backups stands with its columns and indexes, belongs to the owner of the registry, has row-level security without
-- FORCE, and no other role may touch it.
DO $verify$
DECLARE
    registry record;
    problem  text;
BEGIN
    SELECT c.oid, c.relrowsecurity, c.relforcerowsecurity, c.relowner, c.relacl, n.nspowner INTO registry
    FROM pg_catalog.pg_namespace AS n
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid
    WHERE n.nspname = 'edu_matrix_hub_schema' AND c.relname = 'schema_backups' AND c.relkind = 'r';
    IF registry.oid IS NULL THEN
        RAISE EXCEPTION 'table schema_backups is missing';
    ELSIF registry.relowner <> registry.nspowner THEN
        RAISE EXCEPTION 'table schema_backups does not belong to the owner of the registry';
    ELSIF NOT registry.relrowsecurity OR registry.relforcerowsecurity THEN
        RAISE EXCEPTION 'table schema_backups needs row-level security, and not FORCE';
    ELSIF EXISTS (SELECT FROM aclexplode(registry.relacl) AS a WHERE a.grantee <> registry.relowner) THEN
        RAISE EXCEPTION 'others than its owner have privileges on table schema_backups';
    END IF;
    SELECT string_agg(w.name, ', ') INTO problem
    FROM unnest(ARRAY[
        'id', 'schema_id', 'institution_id', 'schema_name', 'method', 'state', 'location', 'manifest', 'size_bytes', 'table_count',
        'row_count', 'checksum', 'object_cluster', 'object_namespace', 'object_name', 'object_uid', 'expire_after_days', 'expires_at',
        'error', 'requested_by', 'requested_at', 'started_at', 'completed_at', 'purged_at', 'updated_at', 'reported_update',
        'location_oid', 'object_namespace_uid', 'sessions_due', 'sessions_due_seen_at']) AS w (name)
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
                      WHERE a.attrelid = registry.oid AND a.attname = w.name AND a.attnum > 0 AND NOT a.attisdropped);
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'table schema_backups lacks columns: %', problem;
    END IF;
    SELECT string_agg(w.name, ', ') INTO problem
    FROM unnest(ARRAY['schema_backups_pkey', 'schema_backups_location_key', 'schema_backups_location', 'schema_backups_object_uid_key', 'schema_backups_schema_id', 'schema_backups_expires_at', 'schema_backups_updated_at', 'schema_backups_unreported', 'schema_backups_sessions_due']) AS w (name)
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
                      WHERE i.indrelid = registry.oid AND c.relname = w.name AND i.indisvalid);
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'table schema_backups lacks indexes: %', problem;
    END IF;
END
$verify$;
