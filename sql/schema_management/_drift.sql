-- What differs from what was applied, for any number of tenants in one query: the owner of the schema, the grants on
-- it, the default privileges of the owner role, the attributes and memberships of the three roles, what others have by
-- the tenant's grants (see _acl_drift), the logins of credentials (see _credential_drift) and the operator's (see
-- _run_drift), what writes while writes are taken (see _blocked_drift), and row-level security where it is asked for,
-- in one row (see _cover_tables). A row says what, whether we can put it right, and the statement that does; `kind`
-- tells repair_tenant_schema how to run it and `helper` through which role keeper. A missing schema has no drift: it is
-- reported as missing, and nothing is made again by itself.
--
-- Which schema and roles are meant is what the registry's identifiers say: what only bears the name of one is no drift,
-- and is not touched. A role that was renamed is told with the statement that names it back; without that nothing else
-- of the tenant can be repaired. So is a login that was renamed, or whose name another role has.
--
-- What a tenant does with its own objects is never drift, and neither are members that another role added to its roles.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._drift(schema_ids uuid[])
RETURNS TABLE (schema_id uuid, kind text, what text, repairable boolean, statement text, role_name text,
               other_role text, helper integer)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET jit = off  -- Compiling this takes longer than running it.
AS $function$
    WITH server AS MATERIALIZED (
        SELECT current_setting('server_version_num')::integer >= 160000 AS modern,
               (SELECT r.oid FROM pg_roles AS r WHERE r.rolname = current_user) AS our_role
    ), keeper AS MATERIALIZED (
        -- The roles by which we administer others; n is null for the owner role itself.
        SELECT k.n, r.oid FROM edu_matrix_hub_schema.role_keepers AS k JOIN pg_roles AS r ON r.oid = k.role_oid
        UNION ALL
        SELECT NULL, s.our_role FROM server AS s
    ), tenant AS MATERIALIZED (
        SELECT t.id, t.keeper, t.access, t.schema_name, t.owner_role, t.reader_role, t.writer_role,
               -- Concatenated with nothing it is stored plainly; aclexplode would unpack a long packed
               -- list once per row.
               t.logins, t.login_oids, t.kept_role_oids, n.nspowner,
               CASE WHEN n.nspacl IS NOT NULL THEN n.nspacl || '{}'::aclitem[] END AS nspacl,
               o.oid AS owner_oid, rd.oid AS reader_oid, wr.oid AS writer_oid, h.rolname AS holder_name,
               coalesce(o.rolname = t.owner_role, to_regrole(quote_ident(t.owner_role)) IS NULL) AS owner_is_sound,
               -- May we act as the present owner of the schema? On 15 CREATEROLE is enough unless it is a superuser.
               CASE WHEN o.rolname <> t.owner_role THEN false
                    WHEN n.nspowner = o.oid OR n.nspowner = s.our_role THEN true
                    WHEN s.modern THEN pg_has_role(s.our_role, n.nspowner, 'USAGE')
                                       OR EXISTS (SELECT FROM pg_auth_members AS m JOIN keeper AS k ON k.oid = m.member
                                                  WHERE m.roleid = n.nspowner AND m.admin_option)
                    ELSE NOT h.rolsuper AND left(h.rolname, 3) <> 'pg_' END AS owner_is_ours_to_change,
               (SELECT k.n FROM pg_auth_members AS m JOIN keeper AS k ON k.oid = m.member
                WHERE m.roleid = n.nspowner AND m.admin_option LIMIT 1) AS holder_keeper,
               EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_row_security AS x
                       WHERE x.schema_id = t.id AND x.mode = 'Required') AS withholds
        FROM edu_matrix_hub_schema.tenant_schemas AS t
        CROSS JOIN server AS s
        JOIN pg_namespace AS n ON n.oid = t.schema_oid AND n.nspname = t.schema_name
        JOIN pg_roles AS h ON h.oid = n.nspowner
        LEFT JOIN pg_roles AS o ON o.oid = t.owner_role_oid
        LEFT JOIN pg_roles AS rd ON rd.oid = t.reader_role_oid
        LEFT JOIN pg_roles AS wr ON wr.oid = t.writer_role_oid
        WHERE t.id = ANY ($1) AND t.status IN ('active', 'suspended')
    ), grantee AS MATERIALIZED (
        SELECT * FROM edu_matrix_hub_schema._granted_roles($1)
    ), role AS MATERIALIZED (
        SELECT t.id, t.keeper, w.name, w.oid, problem.what AS problem, problem.statement, r.rolsuper, r.rolcreaterole,
               r.rolcreatedb, r.rolcanlogin, r.rolreplication, r.rolbypassrls
        FROM tenant AS t
        CROSS JOIN LATERAL (VALUES (t.owner_role, t.owner_oid), (t.reader_role, t.reader_oid),
                                   (t.writer_role, t.writer_oid)) AS w (name, oid)
        LEFT JOIN pg_roles AS r ON r.oid = w.oid
        LEFT JOIN LATERAL edu_matrix_hub_schema._role_problem(w.name, w.oid) AS problem
          ON r.rolname IS DISTINCT FROM w.name
    ), found AS (
        SELECT 1 AS step, r.id, 'role' AS kind, format('role "%s" is missing', r.name) AS what, true AS repairable,
               format('CREATE ROLE %I NOLOGIN', r.name) AS statement, r.name AS role_name,
               NULL AS other_role, r.keeper AS helper
        FROM role AS r WHERE r.oid IS NULL AND r.problem IS NULL

        UNION ALL
        SELECT 1, r.id, 'name', r.problem, false, r.statement, r.name, NULL, r.keeper
        FROM role AS r WHERE r.problem IS NOT NULL

        UNION ALL
        SELECT 1, t.id, 'name', 'login' || substr(problem.what, 5), false,
               problem.statement || format('; or, if it is the tenant''s: UPDATE edu_matrix_hub_schema.tenant_schemas '
                                           'SET logins = array_remove(logins, %1$L) WHERE id = %2$L; '
                                           'UPDATE edu_matrix_hub_schema.tenant_schemas SET logins = '
                                           'array_append(logins, %1$L) WHERE id = %2$L', l.name, t.id),
               l.name, NULL, t.keeper
        FROM tenant AS t
        CROSS JOIN LATERAL unnest(t.logins, t.login_oids) AS l (name, oid)
        CROSS JOIN LATERAL edu_matrix_hub_schema._role_problem(l.name, l.oid) AS problem
        WHERE l.oid IS NOT NULL AND problem.what IS NOT NULL

        UNION ALL
        -- From 16 on we can do nothing to a role on which its keeper lost ADMIN.
        SELECT 2, r.id, 'admin', format('role "%s" is not administered by "%s" any more', r.name, admin.rolname), false,
               format('GRANT %I TO %I WITH ADMIN OPTION', r.name, admin.rolname), r.name, admin.rolname, r.keeper
        FROM role AS r
        JOIN server AS s ON s.modern
        JOIN keeper AS k ON k.n IS NOT DISTINCT FROM r.keeper
        JOIN pg_roles AS admin ON admin.oid = k.oid
        WHERE r.oid IS NOT NULL AND r.problem IS NULL
          AND NOT EXISTS (SELECT FROM pg_auth_members AS m WHERE m.roleid = r.oid
                            AND m.member = k.oid AND m.admin_option)

        UNION ALL
        SELECT 3, r.id, 'attribute', format('role "%s" has %s', r.name, a.attribute),
               a.ours AND NOT r.rolsuper AND (s.modern OR NOT r.rolreplication),
               format('ALTER ROLE %I NO%s', r.name, a.attribute), r.name, NULL, r.keeper
        FROM role AS r
        CROSS JOIN server AS s
        CROSS JOIN LATERAL (VALUES ('LOGIN', r.rolcanlogin, true), ('CREATEROLE', r.rolcreaterole, true),
                                   ('CREATEDB', r.rolcreatedb, NOT s.modern), ('SUPERUSER', r.rolsuper, false),
                                   ('REPLICATION', r.rolreplication, false),
                                   ('BYPASSRLS', r.rolbypassrls, false)) AS a (attribute, is_set, ours)
        WHERE a.is_set AND r.problem IS NULL

        UNION ALL
        -- On 15 CREATEROLE may end any membership but in a superuser; later only who gave it may, and
        -- that may be one of ours.
        SELECT 4, r.id, 'membership', format('role "%s" is a member of "%s"', r.name, g.rolname),
               CASE WHEN s.modern THEN giver.oid IS NOT NULL ELSE NOT g.rolsuper END,
               format('REVOKE %I FROM %I', g.rolname, r.name)
               || CASE WHEN s.modern THEN format(' GRANTED BY %I', pg_get_userbyid(m.grantor)) ELSE '' END,
               r.name, g.rolname, giver.n
        FROM role AS r
        CROSS JOIN server AS s
        JOIN pg_auth_members AS m ON m.member = r.oid
        JOIN pg_roles AS g ON g.oid = m.roleid
        LEFT JOIN keeper AS giver ON giver.oid = m.grantor AND s.modern
        WHERE r.problem IS NULL

        UNION ALL
        SELECT 5, t.id, 'owner', format('schema "%s" belongs to "%s"', t.schema_name, t.holder_name),
               t.owner_is_ours_to_change,
               format('ALTER SCHEMA %I OWNER TO %I', t.schema_name, t.owner_role), t.holder_name, NULL, t.holder_keeper
        FROM tenant AS t WHERE t.nspowner IS DISTINCT FROM t.owner_oid AND t.owner_is_sound

        UNION ALL
        -- Grants that only we should have given. CASCADE follows what a grantee gave on.
        SELECT 6, t.id, 'schema', format('"%s" has %s on schema "%s"%s', g.name, a.privilege_type,
                                         t.schema_name,
                                         CASE WHEN a.is_grantable THEN ' and may give it on' ELSE '' END),
               t.owner_is_ours_to_change,
               format('REVOKE %s%s ON SCHEMA %I FROM %s CASCADE',
                      CASE WHEN u.wanted AND a.privilege_type = 'USAGE' THEN 'GRANT OPTION FOR '
                           ELSE '' END, a.privilege_type,
                      t.schema_name, quote_ident(g.name)),
               NULL, NULL, NULL
        FROM tenant AS t
        CROSS JOIN LATERAL aclexplode(t.nspacl) AS a
        CROSS JOIN LATERAL (SELECT pg_get_userbyid(a.grantee)::text AS name) AS g
        CROSS JOIN LATERAL (SELECT CASE WHEN a.grantee = t.writer_oid THEN t.access = 'ReadWrite'
                                        ELSE t.access <> 'Suspended' END AS wanted) AS u
        WHERE (a.grantee IN (t.reader_oid, t.writer_oid)
               OR EXISTS (SELECT FROM grantee AS e WHERE e.schema_id = t.id AND e.oid = a.grantee))
          AND (a.is_grantable OR NOT (u.wanted AND a.privilege_type = 'USAGE'))

        UNION ALL
        -- A tenant can give rights to every role of the server in one statement: so all strangers are one finding, and
        -- one REVOKE. What that costs grows with the square of their number, so it is for 500 of them; the rest is
        -- found again (`schema_part`).
        SELECT 6, t.id, CASE WHEN count(*) > 500 THEN 'schema_part' ELSE 'schema' END,
               format('others have rights on schema "%s": %s%s', t.schema_name,
                      string_agg(g.name, ', ' ORDER BY g.name) FILTER (WHERE g.n <= 5),
                      CASE WHEN count(*) > 5 THEN format(' and %s more', count(*) - 5) ELSE '' END),
               t.owner_is_ours_to_change,
               format('REVOKE ALL ON SCHEMA %I FROM %s CASCADE', t.schema_name,
                      string_agg(g.name, ', ' ORDER BY g.name) FILTER (WHERE g.n <= 500)),
               NULL, NULL, NULL
        FROM tenant AS t
        CROSS JOIN LATERAL (SELECT d.name, row_number() OVER (ORDER BY d.name) AS n
                            FROM (SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC'
                                                       ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS name
                                  FROM aclexplode(t.nspacl) AS a
                                  WHERE a.grantee <> t.nspowner AND a.grantee IS DISTINCT FROM t.owner_oid
                                    AND a.grantee IS DISTINCT FROM t.reader_oid
                                    AND a.grantee IS DISTINCT FROM t.writer_oid
                                    AND NOT EXISTS (SELECT FROM grantee AS e
                                                    WHERE e.schema_id = t.id AND e.oid = a.grantee)
                                    -- Those of an adopted schema keep what they have (see _end_adoption).
                                    AND (t.access = 'Suspended' OR a.grantee <> ALL (t.kept_role_oids))) AS d) AS g
        GROUP BY t.id, t.schema_name, t.owner_is_ours_to_change

        UNION ALL
        SELECT 7, t.id, 'schema', format('"%s" lost %s on schema "%s"', w.name, w.privilege, t.schema_name),
               t.owner_is_ours_to_change,
               format('GRANT %s ON SCHEMA %I TO %I', w.privilege, t.schema_name, w.name), NULL, NULL, NULL
        FROM tenant AS t
        CROSS JOIN LATERAL (VALUES (t.owner_role, t.nspowner, 'USAGE', true),
                                   (t.owner_role, t.nspowner, 'CREATE', true),
                                   (t.reader_role, t.reader_oid, 'USAGE', t.access <> 'Suspended'),
                                   (t.writer_role, t.writer_oid, 'USAGE', t.access = 'ReadWrite')
                            UNION ALL
                            SELECT e.name, e.oid, 'USAGE', t.access <> 'Suspended'
                            FROM grantee AS e WHERE e.schema_id = t.id) AS w (name, oid, privilege, wanted)
        WHERE w.wanted
          AND NOT EXISTS (SELECT FROM aclexplode(coalesce(t.nspacl, acldefault('n', t.nspowner))) AS a
                          WHERE a.grantee = w.oid AND a.privilege_type = w.privilege)

        UNION ALL
        -- The statements bring the entry back to the server's default first, which removes it whole: taking thousands
        -- of grantees from one that stays costs the square of their number.
        SELECT 8, d.id, 'default',
               format('default privileges of "%s" on %s: %s%s', d.owner_role, lower(d.objects), d.first,
                      CASE WHEN d.total > 10 THEN format(' and %s more', d.total - 10) ELSE '' END),
               d.owner_is_sound,
               (SELECT string_agg(format('ALTER DEFAULT PRIVILEGES FOR ROLE %I %s', d.owner_role, a.statement),
                                  '; ' ORDER BY a.n)
                FROM (VALUES
                    (1, format('REVOKE ALL ON %s FROM %I', d.objects, d.owner_role)),
                    (2, format('GRANT ALL ON %s TO %I', d.objects, d.owner_role)),
                    (3, format('GRANT %s ON %s TO PUBLIC', d.of_all, d.objects)),
                    (4, format('REVOKE ALL ON %s FROM %s', d.objects,
                               concat_ws(', ', quote_ident(d.reader_role), quote_ident(d.writer_role), d.reading_all,
                                         d.strangers))),
                    (5, format('GRANT %s ON %s TO %I', array_to_string(d.reading, ', '), d.objects, d.reader_role)),
                    (6, format('GRANT %s ON %s TO %I', array_to_string(d.privileges, ', '), d.objects, d.writer_role)),
                    (7, format('REVOKE %s ON %s FROM PUBLIC', d.of_all, d.objects)),
                    (8, format('GRANT %s ON %s TO %s', array_to_string(d.reading, ', '), d.objects, d.reading_all)),
                    (9, format('GRANT %s ON %s TO %s', array_to_string(d.privileges, ', '), d.objects, d.writing_all))
                    ) AS a (n, statement)
                WHERE (d.of_all IS NOT NULL OR a.n NOT IN (3, 7)) AND (d.reading <> '{}' OR a.n <> 5)
                  AND (NOT d.withheld OR a.n NOT IN (5, 6)) AND (d.reading_all IS NOT NULL OR a.n <> 8)
                  AND (d.writing_all IS NOT NULL OR a.n <> 9)),
               NULL, NULL, NULL
        FROM (
            SELECT t.id, t.owner_role, t.reader_role, t.writer_role, t.owner_is_sound, w.objects, w.of_all, w.reading,
                   w.privileges, held.withheld, given.reading_all, given.writing_all, count(*) AS total,
                   array_to_string((array_agg(pair.what ORDER BY pair.what))[:10], ', ') AS first,
                   string_agg(pair.stranger, ', ') AS strangers
            FROM tenant AS t
            CROSS JOIN (VALUES ('r', 'r', 'TABLES', NULL, ARRAY['SELECT'],
                                ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
                               ('S', 's', 'SEQUENCES', NULL, ARRAY['SELECT'], ARRAY['SELECT', 'USAGE']),
                               ('f', 'f', 'ROUTINES', 'EXECUTE', '{}'::text[], ARRAY['EXECUTE']),
                               ('T', 'T', 'TYPES', 'USAGE', ARRAY['USAGE'],
                                ARRAY['USAGE'])) AS w (object_type, acl_type, objects, of_all, reading, privileges)
            LEFT JOIN pg_default_acl AS d
              ON d.defaclrole = t.owner_oid AND d.defaclnamespace = 0 AND d.defaclobjtype = w.object_type::"char"
            CROSS JOIN LATERAL (SELECT CASE WHEN d.defaclacl IS NULL THEN acldefault(w.acl_type::"char", t.owner_oid)
                                            ELSE d.defaclacl || '{}'::aclitem[] END AS acl,
                                       -- What is new is open to nobody before it was looked at (see _cover_tables).
                                       t.withholds AND w.object_type IN ('r', 'f') AS withheld) AS held
            -- To those who have all tables by a grant, later ones as well.
            CROSS JOIN LATERAL (
                SELECT string_agg(quote_ident(e.name), ', ' ORDER BY e.name) AS reading_all,
                       string_agg(quote_ident(e.name), ', ' ORDER BY e.name) FILTER (WHERE e.writes_all) AS writing_all
                FROM grantee AS e
                WHERE e.schema_id = t.id AND e.reads_all AND w.of_all IS NULL AND NOT held.withheld) AS given
            CROSS JOIN LATERAL (
                SELECT CASE WHEN present.privilege_type IS NULL
                                THEN format('"%s" lost %s', wanted.name, wanted.privilege)
                            WHEN wanted.name IS NULL
                                THEN format('%s gained %s', coalesce('"' || g.rolname || '"', 'PUBLIC'),
                                            present.privilege_type)
                            ELSE format('"%s" may give on %s', wanted.name, wanted.privilege) END AS what,
                       CASE WHEN present.privilege_type IS NOT NULL AND present.grantee IS DISTINCT FROM t.reader_oid
                                 AND present.grantee IS DISTINCT FROM t.writer_oid
                                 AND row_number() OVER (PARTITION BY present.grantee
                                                        ORDER BY present.privilege_type) = 1
                                 THEN coalesce(quote_ident(g.rolname),
                                               CASE WHEN w.of_all IS NULL THEN 'PUBLIC' END) END AS stranger
                FROM (SELECT t.reader_role AS name, t.reader_oid AS oid, unnest(w.reading) AS privilege
                      WHERE NOT held.withheld
                      UNION ALL SELECT t.writer_role, t.writer_oid, unnest(w.privileges)
                      WHERE NOT held.withheld
                      UNION ALL
                      SELECT e.name, e.oid, unnest(CASE WHEN e.writes_all THEN w.privileges ELSE w.reading END)
                      FROM grantee AS e
                      WHERE e.schema_id = t.id AND e.reads_all AND w.of_all IS NULL AND NOT held.withheld) AS wanted
                FULL JOIN (SELECT a.grantee, a.privilege_type, a.is_grantable FROM aclexplode(held.acl) AS a
                           WHERE a.grantee <> t.owner_oid) AS present
                  ON present.grantee = wanted.oid AND present.privilege_type = wanted.privilege
                LEFT JOIN pg_roles AS g ON g.oid = present.grantee
                -- Earlier releases let readers call functions, and their tenants keep that.
                WHERE (wanted.name IS NULL OR present.privilege_type IS NULL OR present.is_grantable)
                  AND (w.object_type = 'f' AND present.grantee = t.reader_oid AND NOT present.is_grantable
                       AND NOT held.withheld) IS NOT TRUE
            ) AS pair
            GROUP BY t.id, t.owner_role, t.reader_role, t.writer_role, t.owner_is_sound, w.objects,
                     w.of_all, w.reading, w.privileges, held.withheld, given.reading_all, given.writing_all
        ) AS d

        UNION ALL
        SELECT 8, t.id, g.kind, g.what, t.owner_is_sound, g.statement, NULL, NULL, NULL
        FROM edu_matrix_hub_schema._acl_drift(ARRAY(SELECT DISTINCT e.schema_id FROM grantee AS e
                                                      UNION SELECT h.schema_id
                                                      FROM edu_matrix_hub_schema.tenant_grantees AS h
                                                      WHERE h.schema_id = ANY ($1))) AS g
        JOIN tenant AS t ON t.id = g.schema_id

        UNION ALL
        SELECT 10, s.schema_id, 'row_security', format('row-level security: %s', coalesce(s.first, 'what passes it')),
               true, NULL, NULL, NULL, NULL
        FROM edu_matrix_hub_schema._cover_drift($1) AS s

        UNION ALL
        SELECT CASE l.kind WHEN 'shared' THEN 11 WHEN 'owned' THEN 10 ELSE 9 END, l.schema_id, l.kind, l.what,
               l.repairable, l.statement, l.role_name, l.other_role, l.helper
        FROM edu_matrix_hub_schema._credential_drift($1) AS l

        UNION ALL
        SELECT 9, r.schema_id, r.kind, r.what, r.repairable, r.statement, r.role_name, r.other_role, r.helper
        FROM edu_matrix_hub_schema._run_drift($1) AS r

        UNION ALL
        SELECT CASE w.kind WHEN 'shared' THEN 11 ELSE 9 END, w.schema_id, w.kind, w.what, w.repairable, w.statement,
               w.role_name, w.other_role, w.helper
        FROM edu_matrix_hub_schema._blocked_drift($1) AS w
    )
    SELECT f.id, f.kind, f.what, f.repairable, f.statement, f.role_name, f.other_role, f.helper
    FROM found AS f
    ORDER BY f.id, f.step, f.what
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._drift(uuid[]) FROM PUBLIC;
