-- What the grants of some tenants have come to, in their order, of those that give any: [{namespace, name or role,
-- privileges, tables?, request?, state, missing?, missing_count?, moved_to?, other_namespace?, other_role?}...].
-- `state` is `given`, `waiting` while there is no such tenant or role, `due` while there is one that does not have all
-- of it yet, and `ending` while a former one's roles may still have some. `missing` are the first of the named tables
-- that do not exist or belong to another role. `moved_to` is the object to which the former one's tenant went;
-- `other_namespace` that the grantee is in another namespace of that name than before, and `other_role` that another
-- role has the name.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._grant_states(schema_ids uuid[])
RETURNS TABLE (schema_id uuid, grants jsonb)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET jit = off  -- Compiling this takes longer than running it.
AS $function$
    WITH entitled AS MATERIALIZED (
        SELECT e.schema_id, e.oid FROM edu_matrix_hub_schema._granted_roles($1) AS e
    ), ending AS MATERIALIZED (
        SELECT DISTINCT h.schema_id
        FROM edu_matrix_hub_schema.tenant_grantees AS h
        JOIN pg_roles AS r ON r.oid = h.role_oid
        LEFT JOIN entitled AS e ON e.schema_id = h.schema_id AND e.oid = h.role_oid
        WHERE h.schema_id = ANY ($1) AND e.oid IS NULL
    ), shut_out AS MATERIALIZED (
        -- Those who have a grant and may not use the schema.
        SELECT e.schema_id, e.oid
        FROM entitled AS e
        JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = e.schema_id AND t.access <> 'Suspended'
        LEFT JOIN pg_namespace AS s ON s.oid = t.schema_oid AND s.nspname = t.schema_name
        WHERE NOT EXISTS (SELECT FROM aclexplode(s.nspacl) AS a
                          WHERE a.grantee = e.oid AND a.privilege_type = 'USAGE')
    )
    SELECT g.schema_id, jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
               'namespace', g.to_namespace, 'name', g.to_name, 'role', g.to_role, 'privileges', g.privileges,
               'tables', g.tables, 'request', g.request,
               'state', CASE WHEN w.reading IS NULL AND d.schema_id IS NOT NULL THEN 'ending'
                             WHEN w.reading IS NULL THEN 'waiting'
                             WHEN EXISTS (SELECT FROM shut_out AS o
                                          WHERE o.schema_id = g.schema_id AND o.oid = ANY (w.reading)) THEN 'due'
                             ELSE 'given' END,
               'missing', lacking.names, 'missing_count', lacking.count,
               'moved_to', CASE WHEN w.grantee_id IS NULL AND f.status <> 'dropped'
                                     AND (f.owner_namespace, f.owner_name) <> (g.to_namespace, g.to_name)
                                THEN jsonb_build_object('namespace', f.owner_namespace, 'name', f.owner_name) END,
               'other_namespace', CASE WHEN w.grantee_id IS NULL AND EXISTS (
                                   SELECT FROM edu_matrix_hub_schema.tenant_schemas AS c
                                   WHERE c.owner_namespace = g.to_namespace AND c.owner_name = g.to_name
                                     AND c.owner_cluster = t.owner_cluster AND c.id <> t.id
                                     AND c.status <> 'dropped' AND c.status IN ('active', 'suspended')
                                     AND c.owner_namespace_uid <> g.grantee_namespace_uid)
                               THEN true END,
               'other_role', CASE WHEN w.reading IS NULL AND EXISTS (
                                   SELECT FROM edu_matrix_hub_schema.grantable_roles AS r
                                   WHERE r.rolname = g.to_role::name AND r.oid <> g.role_oid
                                     AND r.oid NOT IN (SELECT o.oid FROM edu_matrix_hub_schema.our_roles AS o))
                               THEN true END)) ORDER BY g.n)
    FROM edu_matrix_hub_schema.tenant_grants AS g
    JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = g.schema_id
    JOIN edu_matrix_hub_schema.tenant_grant_targets AS w ON w.schema_id = g.schema_id AND w.n = g.n
    LEFT JOIN ending AS d ON d.schema_id = g.schema_id
    LEFT JOIN edu_matrix_hub_schema.tenant_schemas AS f ON f.id = g.grantee_id
    LEFT JOIN LATERAL (
        SELECT (array_agg(l.name ORDER BY l.name))[:5] AS names, nullif(count(*), 0) AS count
        FROM unnest(g.tables) AS l (name)
        WHERE NOT EXISTS (SELECT FROM pg_class AS c
                          WHERE c.relname = l.name AND c.relnamespace = t.schema_oid
                            AND c.relowner = t.owner_role_oid)) AS lacking ON true
    WHERE g.schema_id = ANY ($1)
    GROUP BY g.schema_id
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._grant_states(uuid[]) FROM PUBLIC;

-- Whether a tenant's grants gave a role something, or will.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._is_grantee(schema_id uuid, role oid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_grantees AS h WHERE h.schema_id = $1 AND h.role_oid = $2)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._is_grantee(uuid, oid) FROM PUBLIC;
