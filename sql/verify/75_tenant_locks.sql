-- Raises unless the tables lane_lock, registry_locks and tenant_locks stand with their columns, belong to the owner of the
-- registry, have row-level security without FORCE, no other role may touch them, and no row that is locked is missing.
DO $verify$
DECLARE
    registry record;
    problem  text;
BEGIN
    FOR registry IN
        SELECT w.name, w.columns, c.oid, c.relrowsecurity, c.relforcerowsecurity, c.relowner, c.relacl, n.nspowner
        FROM (VALUES ('lane_lock', '{singleton}'::text[]), ('registry_locks', '{name}'), ('tenant_locks', '{schema_id, kind}')) AS w (name, columns)
        LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = 'edu_matrix_hub_schema'
        LEFT JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind = 'r'
    LOOP
        IF registry.oid IS NULL THEN
            RAISE EXCEPTION 'table % is missing', registry.name;
        ELSIF registry.relowner <> registry.nspowner THEN
            RAISE EXCEPTION 'table % does not belong to the owner of the registry', registry.name;
        ELSIF NOT registry.relrowsecurity OR registry.relforcerowsecurity THEN
            RAISE EXCEPTION 'table % needs row-level security, and not FORCE', registry.name;
        ELSIF EXISTS (SELECT FROM aclexplode(registry.relacl) AS a WHERE a.grantee <> registry.relowner) THEN
            RAISE EXCEPTION 'others than its owner have privileges on table %', registry.name;
        END IF;
        SELECT string_agg(w.name, ', ') INTO problem
        FROM unnest(registry.columns) AS w (name)
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
                          WHERE a.attrelid = registry.oid AND a.attname = w.name AND a.attnum > 0 AND NOT a.attisdropped);
        IF problem IS NOT NULL THEN
            RAISE EXCEPTION 'table % lacks columns: %', registry.name, problem;
        END IF;
    END LOOP;
    IF NOT has_table_privilege('edu_matrix_hub_schema.registry_locks', 'SELECT') THEN
        RETURN;  -- Only the owner role and superusers can see the rows.
    END IF;
    SELECT string_agg(w.name, ', ') INTO problem
    FROM unnest(ARRAY['survey', 'claim_job', 'role_keepers', 'deletions']) AS w (name)
    WHERE NOT EXISTS (SELECT FROM edu_matrix_hub_schema.registry_locks AS l WHERE l.name = w.name);
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'table registry_locks lacks rows: %', problem;
    END IF;
    SELECT string_agg(t.id::text, ', ') INTO problem
    FROM edu_matrix_hub_schema.tenant_schemas AS t
    WHERE (SELECT count(*) FROM edu_matrix_hub_schema.tenant_locks AS l WHERE l.schema_id = t.id) <> 2;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'table tenant_locks lacks rows of tenants: %', problem;
    END IF;
END
$verify$;
