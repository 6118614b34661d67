-- Raises with everything in which the columns of the registry's views differ from what is written here. A new column is
-- a new line.
DO $verify$
DECLARE
    problem text;
BEGIN
    SELECT string_agg(format('column %s.%s is "%s" and not "%s"', w.relation, w.name, coalesce(f.type, 'missing'),
                             w.type), chr(10)) INTO problem
    FROM (
        VALUES
            ('grantable_roles', 'oid', 'oid'),
            ('grantable_roles', 'rolname', 'name'),
            ('our_roles', 'oid', 'oid'),
            ('tenant_grant_targets', 'schema_id', 'uuid'),
            ('tenant_grant_targets', 'n', 'smallint'),
            ('tenant_grant_targets', 'privileges', 'text[]'),
            ('tenant_grant_targets', 'tables', 'text[]'),
            ('tenant_grant_targets', 'grantee_id', 'uuid'),
            ('tenant_grant_targets', 'reading', 'oid[]'),
            ('tenant_grant_targets', 'writing', 'oid[]'),
            ('taken_states', 'id', 'bigint'),
            ('taken_states', 'schema_id', 'uuid'),
            ('taken_states', 'grantor_id', 'uuid'),
            ('taken_states', 'state', 'text'),
            ('migration_logins', 'schema_id', 'uuid'),
            ('migration_logins', 'name', 'text'),
            ('migration_logins', 'oid', 'oid'),
            ('tenant_fingerprints', 'schema_id', 'uuid'),
            ('tenant_fingerprints', 'fingerprint', 'numeric'),
            ('schema_activity', 'schema_id', 'uuid'),
            ('schema_activity', 'namespace', 'oid'),
            ('schema_activity', 'table_count', 'integer'),
            ('schema_activity', 'relation_count', 'integer'),
            ('schema_activity', 'signature', 'numeric'),
            ('tenant_rows', 'schema_id', 'uuid'),
            ('tenant_rows', 'document', 'jsonb')
    ) AS w (relation, name, type)
    LEFT JOIN (
        SELECT c.relname::text AS relation, a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type
        FROM pg_catalog.pg_namespace AS n
        JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relkind = 'v'
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
        WHERE n.nspname = 'edu_matrix_hub_schema'
    ) AS f ON f.relation = w.relation AND f.name = w.name
    WHERE f.type IS DISTINCT FROM w.type;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem;
    END IF;
END
$verify$;
