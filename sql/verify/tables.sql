-- Raises with everything in which the tables and views of the registry differ from what is written here. Each belongs
-- to the registry's owner and no other role may touch it; a table has row-level security without FORCE, and the rows
-- that it must have. What they consist of is in columns.sql.
DO $verify$
DECLARE
    problem text;
BEGIN
    SELECT string_agg(p.text, chr(10)) INTO problem
    FROM (
        SELECT 'schema edu_matrix_hub_schema is open to PUBLIC, or others may create in it' AS text
        FROM pg_catalog.pg_namespace AS n CROSS JOIN aclexplode(n.nspacl) AS a
        WHERE n.nspname = 'edu_matrix_hub_schema'
          AND (a.grantee = 0 OR (a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner))
        UNION ALL
        SELECT format('%s %s %s', w.kind, w.name, CASE
            WHEN c.oid IS NULL THEN 'is missing'
            WHEN c.relowner <> n.nspowner THEN 'does not belong to the owner of the registry'
            WHEN EXISTS (SELECT FROM aclexplode(c.relacl) AS a WHERE a.grantee <> c.relowner)
                THEN 'may be touched by others than its owner'
            ELSE 'needs row-level security, and not FORCE' END)
        FROM (VALUES
            ('installation', 'table'),
            ('role_keepers', 'table'),
            ('tenant_adoptions', 'table'),
            ('institutions', 'table'),
            ('migration_logins', 'view'),
            ('tenant_schemas', 'table'),
            ('schema_operations', 'table'),
            ('schema_backups', 'table'),
            ('archive_uploads', 'table'),
            ('schema_jobs', 'table'),
            ('scratch_databases', 'table'),
            ('tenant_credentials', 'table'),
            ('opened_logins', 'table'),
            ('login_transactions', 'table'),
            ('tenant_sessions', 'table'),
            ('quota_files', 'table'),
            ('tenant_grants', 'table'),
            ('tenant_grantees', 'table'),
            ('taken_dependents', 'table'),
            ('taken_states', 'view'),
            ('tenant_row_security', 'table'),
            ('row_security_objects', 'table'),
            ('lane_lock', 'table'),
            ('registry_locks', 'table'),
            ('tenant_locks', 'table'),
            ('grantable_roles', 'view'),
            ('our_roles', 'view'),
            ('tenant_grant_targets', 'view'),
            ('tenant_fingerprints', 'view'),
            ('schema_activity', 'view'),
            ('tenant_rows', 'view')
        ) AS w (name, kind)
        LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = 'edu_matrix_hub_schema'
        LEFT JOIN pg_catalog.pg_class AS c
          ON c.relnamespace = n.oid AND c.relname = w.name
         AND c.relkind = CASE w.kind WHEN 'table' THEN 'r' ELSE 'v' END
        WHERE c.oid IS NULL OR c.relowner <> n.nspowner
           OR EXISTS (SELECT FROM aclexplode(c.relacl) AS a WHERE a.grantee <> c.relowner)
           OR w.kind = 'table' AND (NOT c.relrowsecurity OR c.relforcerowsecurity)
    ) AS p;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem;
    END IF;

    IF NOT has_table_privilege('edu_matrix_hub_schema.registry_locks', 'SELECT') THEN
        RETURN;  -- Only the owner role and superusers can see rows.
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
