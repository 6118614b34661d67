-- Who holds a grant, as GRANT and REVOKE name it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._grantee(role oid) RETURNS text
LANGUAGE sql STABLE
AS $function$
    SELECT CASE $1 WHEN 0 THEN 'PUBLIC'
                   ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid($1)::pg_catalog.text) END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._grantee(oid) FROM PUBLIC;

-- The id that stands for any tenant that is made now, and has nothing of its own yet.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._new_tenant() RETURNS uuid
LANGUAGE sql IMMUTABLE
AS $function$
    SELECT '00000000-0000-0000-0000-000000000000'::pg_catalog.uuid
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._new_tenant() FROM PUBLIC;

-- What the roles of some tenants may do beyond their own schema, looked at from the side of these roles: attributes of
-- its roles and logins, what they are members of, and what they or PUBLIC may do with schemas, the database, tables of
-- the registry and of `public`, and functions that run with more rights than a tenant has. A row says what, the
-- statement that closes it, and whether that is ours to run (`repairable`), as it is for what belongs to the owner role
-- and was given by it. With _new_tenant() among the ids, it is also what a tenant that is made now may do: what PUBLIC
-- may, and the role through which logins connect. What _drift finds of the tenant's own roles is put right there and is
-- `repairable` there.
--
-- Nothing is tried and no role is taken: a tenant's code would run with the rights of the session then, or undo it by
-- RESET ROLE. Nor is has_..._privilege called for each pair of a role and an object, which is the number of tenants for
-- each tenant: the grants of all schemas are read once, and those that name PUBLIC or one of these roles stay. A schema
-- is the gate of what is in it, since nothing in it can be named without USAGE, so the tables of a neighbour are not
-- read. What is outside of all tenants is read whole: nothing that a tenant makes is in `public`, or it is told.
--
-- Left out, because they are the server's ordinary state and in docs/security.md: TEMPORARY on the database, that
-- catalogues can be read, USAGE on `public` and reading there what PUBLIC may read; and members of extensions, which
-- are as their authors made them.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._isolation_holes(schema_ids uuid[])
RETURNS TABLE (schema_id uuid, kind text, what text, repairable boolean, statement text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET plan_cache_mode = force_generic_plan  -- To plan it takes five times as long as to run it,
SET jit = off                             -- and to compile it a thousand times as long.
AS $function$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH RECURSIVE server AS MATERIALIZED (
        SELECT current_setting('server_version_num')::integer >= 160000 AS modern, r.oid AS our_role,
               d.datname, d.datdba, coalesce(d.datacl, acldefault('d', d.datdba)) AS datacl,
               i.connect_role_oid AS entry, 'edu_matrix_hub_schema'::regnamespace::oid AS registry,
               to_regnamespace('public')::oid AS public_schema,
               -- A role that has one of these acts for every tenant.
               ARRAY[r.oid, to_regrole(quote_ident(i.owner_role))::oid, to_regrole(quote_ident(i.admin_role))::oid,
                     to_regrole(quote_ident(i.operator_role))::oid]
               || ARRAY(SELECT k.role_oid FROM edu_matrix_hub_schema.role_keepers AS k) AS keepers
        FROM edu_matrix_hub_schema.installation AS i
        JOIN pg_roles AS r ON r.rolname = current_user
        JOIN pg_database AS d ON d.datname = current_database()
    ), tenant AS MATERIALIZED (
        SELECT t.id, t.schema_oid, t.keeper, t.logins, t.login_oids, t.owner_role, t.owner_role_oid, t.reader_role,
               t.reader_role_oid, t.writer_role, t.writer_role_oid
        FROM edu_matrix_hub_schema.tenant_schemas AS t
        JOIN pg_namespace AS n ON n.oid = t.schema_oid AND n.nspname = t.schema_name
        WHERE t.id = ANY ($1) AND t.status = 'active'
        UNION ALL
        SELECT new.id, 0, NULL, '{}', '{}', NULL, NULL, NULL, NULL, NULL, NULL
        FROM (VALUES (edu_matrix_hub_schema._new_tenant())) AS new (id) WHERE new.id = ANY ($1)
    ), own AS MATERIALIZED (
        -- The role through which logins connect is every tenant's, and so are the groups of its keeper and of the
        -- parent of that. A tenant that is not made yet comes to a keeper that has room.
        SELECT t.id, r.oid, r.rolname, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolreplication, r.rolbypassrls
        FROM tenant AS t
        CROSS JOIN server AS s
        CROSS JOIN LATERAL (
            SELECT l.name, l.oid FROM unnest(t.logins, t.login_oids) AS l (name, oid)
            UNION ALL
            VALUES (t.owner_role, t.owner_role_oid), (t.reader_role, t.reader_role_oid),
                   (t.writer_role, t.writer_role_oid), (NULL, s.entry)
            UNION ALL
            SELECT NULL, g.connect_role_oid
            FROM edu_matrix_hub_schema.role_keepers AS k
            JOIN edu_matrix_hub_schema.role_keepers AS g ON g.n IN (k.n, k.parent)
            WHERE k.n = t.keeper OR t.schema_oid = 0 AND k.is_open AND k.parent IS NOT NULL) AS w (name, oid)
        -- OFFSET 0 makes these probes of an index, and not a walk over all roles of the server.
        CROSS JOIN LATERAL (SELECT a.* FROM pg_roles AS a WHERE a.oid = w.oid OFFSET 0) AS r
        WHERE r.rolname = coalesce(w.name, r.rolname)
    ), reach AS (
        -- Its roles, and all that they are members of; with the membership by which that leads away from them.
        SELECT o.id, o.oid AS role, NULL::oid AS from_role, NULL::oid AS to_role, NULL::oid AS giver
        FROM own AS o
        UNION
        SELECT r.id, m.roleid, coalesce(r.from_role, w.from_role), coalesce(r.to_role, w.to_role),
               coalesce(r.giver, w.giver)
        FROM reach AS r
        JOIN pg_auth_members AS m ON m.member = r.role
        LEFT JOIN LATERAL (SELECT m.member AS from_role, m.roleid AS to_role, m.grantor AS giver
                           WHERE NOT EXISTS (SELECT FROM own AS o WHERE o.id = r.id AND o.oid = m.roleid)) AS w
          ON true
        -- From 16 on a membership may give nothing.
        WHERE m.admin_option OR coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true)
           OR coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)
    ), way AS MATERIALIZED (
        -- `why` is why a membership alone is a hole; what such a role holds is not told besides.
        SELECT r.id, r.role, r.from_role, r.to_role, r.giver, g.rolname,
               CASE WHEN r.from_role IS NULL THEN NULL
                    WHEN g.rolsuper THEN 'a superuser'
                    WHEN g.rolcreaterole OR g.rolcreatedb OR g.rolreplication OR g.rolbypassrls
                        THEN 'a role with CREATEROLE, CREATEDB, REPLICATION or BYPASSRLS'
                    WHEN g.oid < 16384 THEN 'a role of the server'
                    WHEN g.oid = s.datdba THEN 'the owner of the database'
                    WHEN g.oid = ANY (s.keepers) THEN 'a role that acts for all tenants'
                    WHEN EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_schemas AS t
                                 WHERE t.id <> r.id AND (g.oid = ANY (t.login_oids)
                                       OR g.oid IN (t.owner_role_oid, t.reader_role_oid, t.writer_role_oid)))
                        THEN 'a role of another tenant' END AS why
        FROM reach AS r
        CROSS JOIN server AS s
        CROSS JOIN LATERAL (SELECT a.* FROM pg_roles AS a WHERE a.oid = r.role OFFSET 0) AS g
    ), holder AS MATERIALIZED (
        -- Who holds a grant that the tenant can use: 0 is PUBLIC. Of other roles than its own nothing is ours to take.
        SELECT w.id, w.role, bool_or(w.from_role IS NULL) AS is_own
        FROM way AS w WHERE w.why IS NULL GROUP BY w.id, w.role
        UNION ALL
        SELECT t.id, 0, true FROM tenant AS t
    ), role AS MATERIALIZED (
        SELECT DISTINCT h.role AS oid FROM holder AS h
    ), given AS MATERIALIZED (
        -- What the registry says that a tenant has: its own schema, and USAGE for its roles, `role`, of those that
        -- others give it by their grants; which tables it comes to there, _acl_drift looks after. A grant notes its
        -- grantee before anything is given.
        SELECT t.id, t.schema_oid AS namespace, NULL::oid AS role FROM tenant AS t
        UNION ALL
        SELECT g.grantee_id, o.schema_oid, r.oid
        FROM edu_matrix_hub_schema.tenant_grants AS d
        JOIN edu_matrix_hub_schema.tenant_grant_targets AS g
          ON g.schema_id = d.schema_id AND g.n = d.n AND g.grantee_id = d.grantee_id
        JOIN edu_matrix_hub_schema.tenant_schemas AS o ON o.id = d.schema_id
        CROSS JOIN LATERAL unnest(g.reading) AS r (oid)
        WHERE d.grantee_id = ANY ($1)
    ), unsure AS MATERIALIZED (
        SELECT n.oid, n.nspname, n.nspowner, n.nspacl, t.id IS NOT NULL AS is_tenant
        FROM pg_namespace AS n
        LEFT JOIN edu_matrix_hub_schema.tenant_schemas AS t
          ON t.schema_oid = n.oid AND t.schema_name = n.nspname AND t.status <> 'dropped'
        WHERE t.id IS NULL OR t.fingerprint IS NULL OR t.status NOT IN ('active', 'suspended')
    ), opened AS MATERIALIZED (
        SELECT n.oid, n.nspname, n.nspowner, n.is_tenant, a.grantee, a.grantor, a.privilege_type
        FROM unsure AS n
        CROSS JOIN LATERAL aclexplode(n.nspacl) AS a
        JOIN role AS r ON r.oid = a.grantee
        UNION ALL
        SELECT n.oid, n.nspname, n.nspowner, n.is_tenant, n.nspowner, n.nspowner, 'OWNER'
        FROM unsure AS n JOIN role AS r ON r.oid = n.nspowner
    ), around AS MATERIALIZED (
        -- Schemas beyond its own that a tenant can do something in. A temporary one is its session's.
        SELECT h.id, h.is_own, o.*
        FROM opened AS o
        JOIN holder AS h ON h.role = o.grantee
        WHERE o.nspname !~ '^pg_(toast_)?temp_'
          AND NOT EXISTS (SELECT FROM given AS g WHERE g.id = h.id AND g.namespace = o.oid
                            AND (g.role IS NULL OR g.role = o.grantee AND o.privilege_type = 'USAGE'))
    ), shut AS MATERIALIZED (
        SELECT a.id, a.is_own, a.nspname, a.nspowner, a.grantee, a.grantor, a.privilege_type,
               CASE WHEN a.oid = s.registry THEN 'the registry'
                    WHEN a.is_tenant THEN 'another tenant''s schema'
                    ELSE coalesce(
                        -- A value and not EXISTS, and in the collation of the index: the table is not read whole.
                        (SELECT 'a backup' FROM edu_matrix_hub_schema.schema_backups AS b
                         WHERE b.location = a.nspname::text COLLATE "default" AND b.location_oid = a.oid LIMIT 1),
                        CASE WHEN a.nspowner = s.our_role THEN 'a schema of the operator' END) END AS content
        FROM around AS a CROSS JOIN server AS s
    ), runs AS MATERIALIZED (
        SELECT p.oid, p.pronamespace, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)) AS acl
        FROM pg_proc AS p
        WHERE p.prosecdef AND p.pronamespace <> 'pg_catalog'::regnamespace
          AND p.pronamespace <> 'information_schema'::regnamespace
    ), mighty AS MATERIALIZED (
        SELECT r.oid, r.rolname
        FROM (SELECT DISTINCT f.proowner FROM runs AS f) AS f
        CROSS JOIN server AS s
        CROSS JOIN LATERAL (SELECT a.* FROM pg_roles AS a WHERE a.oid = f.proowner OFFSET 0) AS r
        WHERE r.rolsuper OR r.rolcreaterole OR r.rolbypassrls OR r.rolreplication OR r.oid = s.datdba
           OR r.oid = ANY (s.keepers)
           OR EXISTS (SELECT FROM pg_auth_members AS m WHERE m.member = r.oid AND m.roleid < 16384)
    ), found AS (
        SELECT o.id, 1 AS step, 'attribute' AS kind, format('role "%s" has %s', o.rolname, a.name) AS what,
               false AS repairable, format('ALTER ROLE %I NO%s', o.rolname, a.name) AS statement
        FROM own AS o
        CROSS JOIN LATERAL (VALUES ('SUPERUSER', o.rolsuper), ('BYPASSRLS', o.rolbypassrls),
                                   ('CREATEROLE', o.rolcreaterole), ('CREATEDB', o.rolcreatedb),
                                   ('REPLICATION', o.rolreplication)) AS a (name, is_set)
        WHERE a.is_set

        UNION ALL
        SELECT w.id, 2, 'membership',
               format('role "%s" is a member of "%s"', f.rolname, t.rolname)
               || min(CASE WHEN w.role = w.to_role THEN format(', %s', w.why)
                           ELSE format(', and by that of "%s", %s', w.rolname, w.why) END),
               false,
               format('REVOKE %I FROM %I', t.rolname, f.rolname)
               || CASE WHEN s.modern THEN format(' GRANTED BY %I', pg_get_userbyid(w.giver)) ELSE '' END
        FROM way AS w
        CROSS JOIN server AS s
        CROSS JOIN LATERAL (SELECT pg_get_userbyid(w.from_role) AS rolname) AS f
        CROSS JOIN LATERAL (SELECT pg_get_userbyid(w.to_role) AS rolname) AS t
        WHERE w.why IS NOT NULL
        GROUP BY w.id, f.rolname, t.rolname, w.giver, s.modern

        UNION ALL
        SELECT a.id, 3, 'database',
               format('%s may create schemas in database "%s"', edu_matrix_hub_schema._grantee(a.grantee), s.datname),
               false, format('REVOKE CREATE ON DATABASE %I FROM %s', s.datname,
                             edu_matrix_hub_schema._grantee(a.grantee))
        FROM server AS s
        CROSS JOIN LATERAL (SELECT h.id, c.grantee FROM aclexplode(s.datacl) AS c JOIN holder AS h ON h.role = c.grantee
                            WHERE c.privilege_type = 'CREATE') AS a

        UNION ALL
        SELECT u.id, 4, 'schema',
               CASE WHEN u.privilege_type = 'OWNER'
                    THEN format('schema "%s"%s belongs to role "%s"', u.nspname, ', ' || u.content || ',',
                                pg_get_userbyid(u.grantee))
                    ELSE format('%s has %s on schema "%s"%s', edu_matrix_hub_schema._grantee(u.grantee),
                                u.privilege_type, u.nspname, ', ' || u.content) END,
               u.is_own AND u.nspowner = s.our_role AND u.grantor = s.our_role AND u.privilege_type <> 'OWNER',
               CASE WHEN u.privilege_type = 'OWNER' THEN format('ALTER SCHEMA %I OWNER TO %I', u.nspname,
                                                                pg_get_userbyid(s.our_role))
                    ELSE format('REVOKE %s ON SCHEMA %I FROM %s CASCADE', u.privilege_type, u.nspname,
                                edu_matrix_hub_schema._grantee(u.grantee)) END
        FROM shut AS u CROSS JOIN server AS s
        WHERE u.content IS NOT NULL OR u.privilege_type = 'CREATE'

        UNION ALL
        SELECT h.id, 5, 'table',
               format('%s has %s on %s "%s.%s"', edu_matrix_hub_schema._grantee(t.grantee), t.privileges,
                      CASE t.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, n.nspname, t.relname),
               h.is_own AND t.relowner = s.our_role AND t.ours_gave,
               format('REVOKE ALL ON %s %I.%I FROM %s CASCADE',
                      CASE t.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname, t.relname,
                      edu_matrix_hub_schema._grantee(t.grantee))
        FROM (
            SELECT c.oid, c.relnamespace, c.relname, c.relkind, c.relowner, a.grantee,
                   bool_and(a.grantor = c.relowner) AS ours_gave,
                   string_agg(DISTINCT a.privilege_type, ', ' ORDER BY a.privilege_type) AS privileges
            FROM server AS s
            JOIN pg_depend AS d ON d.refclassid = 'pg_namespace'::regclass AND d.classid = 'pg_class'::regclass
                               AND d.refobjid IN (s.registry, s.public_schema)
            JOIN pg_class AS c ON c.oid = d.objid
            CROSS JOIN LATERAL (
                SELECT e.* FROM aclexplode(c.relacl) AS e
                UNION ALL
                -- Of some columns only.
                SELECT e.* FROM pg_attribute AS t CROSS JOIN LATERAL aclexplode(t.attacl) AS e
                WHERE t.attrelid = c.oid AND t.attacl IS NOT NULL AND c.relnamespace = s.registry) AS a
            JOIN role AS r ON r.oid = a.grantee
            WHERE (c.relnamespace = s.registry
                   OR a.privilege_type NOT IN ('SELECT', 'REFERENCES', 'USAGE')
                      AND NOT EXISTS (SELECT FROM pg_depend AS e WHERE e.classid = 'pg_class'::regclass
                                        AND e.objid = c.oid AND e.deptype = 'e'))
            GROUP BY c.oid, c.relnamespace, c.relname, c.relkind, c.relowner, a.grantee
        ) AS t
        CROSS JOIN server AS s
        JOIN pg_namespace AS n ON n.oid = t.relnamespace
        JOIN holder AS h ON h.role = t.grantee

        UNION ALL
        SELECT h.id, 6, 'function',
               format('%s may call %s, which runs with the rights of "%s"', edu_matrix_hub_schema._grantee(f.grantee),
                      f.name, f.rolname),
               h.is_own AND f.proowner = s.our_role AND f.grantor = s.our_role,
               format('REVOKE EXECUTE ON ROUTINE %s FROM %s CASCADE', f.name,
                      edu_matrix_hub_schema._grantee(f.grantee))
        FROM (
            SELECT r.pronamespace, r.proowner, m.rolname, a.grantee, a.grantor,
                   edu_matrix_hub_schema._routine_name(r.oid) AS name
            FROM mighty AS m
            JOIN runs AS r ON r.proowner = m.oid
            CROSS JOIN LATERAL aclexplode(r.acl) AS a
            JOIN role AS g ON g.oid = a.grantee
            WHERE a.privilege_type = 'EXECUTE' AND a.grantee <> r.proowner
              AND NOT EXISTS (SELECT FROM pg_depend AS e WHERE e.classid = 'pg_proc'::regclass AND e.objid = r.oid
                                AND e.deptype = 'e')
        ) AS f
        CROSS JOIN server AS s
        JOIN holder AS h ON h.role = f.grantee
        WHERE f.pronamespace = s.registry
           OR EXISTS (SELECT FROM given AS g WHERE g.id = h.id AND g.namespace = f.pronamespace)
           OR EXISTS (SELECT FROM around AS a WHERE a.id = h.id AND a.oid = f.pronamespace)
    )
    SELECT f.id, f.kind, f.what, f.repairable, f.statement
    FROM found AS f ORDER BY f.id, f.step, f.what, f.statement;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._isolation_holes(uuid[]) FROM PUBLIC;
