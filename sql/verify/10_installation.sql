-- Raises unless the registry schema is closed to PUBLIC, and table installation stands with its columns, belongs to the
-- owner of the registry, has row-level security without FORCE, and no other role may touch it.
DO $verify$
DECLARE
    registry record;
    problem  text;
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace AS n CROSS JOIN aclexplode(n.nspacl) AS a
               WHERE n.nspname = 'edu_matrix_hub_schema' AND (a.grantee = 0 OR (a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner))) THEN
        RAISE EXCEPTION 'schema edu_matrix_hub_schema is open to PUBLIC, or others may create in it';
    END IF;
    SELECT c.oid, c.relrowsecurity, c.relforcerowsecurity, c.relowner, c.relacl, n.nspowner INTO registry
    FROM pg_catalog.pg_namespace AS n
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid
    WHERE n.nspname = 'edu_matrix_hub_schema' AND c.relname = 'installation' AND c.relkind = 'r';
    IF registry.oid IS NULL THEN
        RAISE EXCEPTION 'table installation is missing';
    ELSIF registry.relowner <> registry.nspowner THEN
        RAISE EXCEPTION 'table installation does not belong to the owner of the registry';
    ELSIF NOT registry.relrowsecurity OR registry.relforcerowsecurity THEN
        RAISE EXCEPTION 'table installation needs row-level security, and not FORCE';
    ELSIF EXISTS (SELECT FROM aclexplode(registry.relacl) AS a WHERE a.grantee <> registry.relowner) THEN
        RAISE EXCEPTION 'others than its owner have privileges on table installation';
    END IF;
    SELECT string_agg(w.name, ', ') INTO problem
    FROM unnest(ARRAY[
        'singleton', 'installation_id', 'owner_role', 'admin_role', 'functions_version', 'functions_checksum', 'functions_fingerprint', 'contract',
        'cluster', 'tenant_database', 'holder', 'epoch', 'claimed_at', 'surveyed_at', 'pruned_at', 'installed_at', 'updated_at',
        'claim_id', 'lease', 'claimed_from', 'heartbeat_at', 'beats', 'contested_at', 'contested_by', 'unsettled_until', 'timeline', 'place',
        'quiet_since', 'quiet_until', 'quiet_reason', 'confirmed_until', 'expiry_stopped_at', 'registry_oid', 'system_identifier', 'fingerprint_key',
        'bring_back_since', 'bring_back_until', 'bring_backs']) AS w (name)
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
                      WHERE a.attrelid = registry.oid AND a.attname = w.name AND a.attnum > 0 AND NOT a.attisdropped);
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'table installation lacks columns: %', problem;
    END IF;
END
$verify$;
