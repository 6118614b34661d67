-- Raises unless table tenant_schemas stands with its columns, indexes and trigger, belongs to the owner of the registry, has row-level security without
-- FORCE, and no other role may touch it.
DO $verify$
DECLARE
    registry record;
    problem  text;
BEGIN
    SELECT c.oid, c.relrowsecurity, c.relforcerowsecurity, c.relowner, c.relacl, n.nspowner INTO registry
    FROM pg_catalog.pg_namespace AS n
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid
    WHERE n.nspname = 'edu_matrix_hub_schema' AND c.relname = 'tenant_schemas' AND c.relkind = 'r';
    IF registry.oid IS NULL THEN
        RAISE EXCEPTION 'table tenant_schemas is missing';
    ELSIF registry.relowner <> registry.nspowner THEN
        RAISE EXCEPTION 'table tenant_schemas does not belong to the owner of the registry';
    ELSIF NOT registry.relrowsecurity OR registry.relforcerowsecurity THEN
        RAISE EXCEPTION 'table tenant_schemas needs row-level security, and not FORCE';
    ELSIF EXISTS (SELECT FROM aclexplode(registry.relacl) AS a WHERE a.grantee <> registry.relowner) THEN
        RAISE EXCEPTION 'others than its owner have privileges on table tenant_schemas';
    END IF;
    SELECT string_agg(w.name, ', ') INTO problem
    FROM unnest(ARRAY[
        'id', 'institution_id', 'schema_name', 'owner_cluster', 'owner_namespace', 'owner_name', 'owner_uid', 'status', 'access', 'config', 'version',
        'quota_limit', 'keeper', 'owner_role', 'reader_role', 'writer_role', 'logins', 'saved_acl', 'closed_logins', 'table_count', 'storage_used',
        'usage_stale', 'usage_at', 'write_signature', 'fingerprint', 'drift', 'reported', 'last_optimized', 'last_backup', 'created_at', 'updated_at', 'dropped_at', 'taken_over',
        'schema_oid', 'owner_role_oid', 'reader_role_oid', 'writer_role_oid', 'owner_namespace_uid', 'deletion_requested_at', 'recreations', 'login_oids', 'foreign_tables', 'shared_with', 'size_estimate']) AS w (name)
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
                      WHERE a.attrelid = registry.oid AND a.attname = w.name AND a.attnum > 0 AND NOT a.attisdropped);
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'table tenant_schemas lacks columns: %', problem;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid = registry.oid AND t.tgname = 'remember_logins' AND t.tgenabled = 'O') THEN
        RAISE EXCEPTION 'table tenant_schemas lacks trigger remember_logins';
    END IF;
    SELECT string_agg(w.name, ', ') INTO problem
    FROM unnest(ARRAY['tenant_schemas_schema_name_key', 'tenant_schemas_institution_id_key', 'tenant_schemas_owner_uid_key', 'tenant_schemas_owner_uid_dropped',
        'tenant_schemas_schema_name_dropped', 'tenant_schemas_institution_id_dropped', 'tenant_schemas_deletion', 'tenant_schemas_suspended', 'tenant_schemas_keeper']) AS w (name)
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
                      WHERE i.indrelid = registry.oid AND c.relname = w.name AND i.indisvalid);
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'table tenant_schemas lacks indexes: %', problem;
    END IF;
END
$verify$;
