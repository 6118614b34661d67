-- The logins that become the owner role of a living tenant, by their names: those that migrations have or had, and the
-- operator's (see open_tenant_session). Closed ones may own something still.
CREATE OR REPLACE VIEW edu_matrix_hub_schema.migration_logins AS
SELECT t.id AS schema_id, l.name, l.oid
FROM edu_matrix_hub_schema.tenant_schemas AS t
CROSS JOIN LATERAL unnest(t.logins, t.login_oids) AS l (name, oid)
JOIN pg_catalog.pg_roles AS r ON r.oid = l.oid AND r.rolname = l.name
WHERE t.status IN ('active', 'suspended')
  AND l.name IN (pg_catalog.regexp_replace(t.owner_role, '_owner$', '_mig_a'),
                 pg_catalog.regexp_replace(t.owner_role, '_owner$', '_mig_b'),
                 pg_catalog.regexp_replace(t.owner_role, '_owner$', '_run'));
