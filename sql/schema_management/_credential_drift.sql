-- The statements that give a login its defaults in this database and no others; null when one of them is. Where a
-- tenant gave its login a role or a session's user as default, no function with rights of its own may take that back,
-- nor all at once: these two stay, for a superuser, and what else there is goes one by one. The server does not follow
-- them where the login has no right to.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._login_defaults(login text, schema_name text,
                                                                 statement_timeout_seconds integer,
                                                                 idle_in_transaction_timeout_seconds integer)
RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH held AS (
        SELECT CASE s.setdatabase WHEN 0 THEN '' ELSE format('IN DATABASE %I ', current_database()) END AS place,
               split_part(v.setting, '=', 1) AS name
        FROM pg_db_role_setting AS s
        CROSS JOIN LATERAL unnest(s.setconfig) AS v (setting)
        WHERE s.setrole = to_regrole(quote_ident($1))
          AND s.setdatabase IN (0, (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database()))
    ), resets AS (
        SELECT CASE WHEN bool_or(h.name IN ('role', 'session_authorization')) THEN
            coalesce(string_agg(format('ALTER ROLE %I %sRESET %s; ', $1, h.place,
                                       (SELECT string_agg(quote_ident(p.part), '.' ORDER BY p.n)
                                        FROM string_to_table(h.name, '.') WITH ORDINALITY AS p (part, n))), '')
                     FILTER (WHERE h.name NOT IN ('role', 'session_authorization')), '')
            ELSE format('ALTER ROLE %1$I RESET ALL; ALTER ROLE %1$I IN DATABASE %2$I RESET ALL; ', $1,
                        current_database()) END AS text
        FROM held AS h
    )
    SELECT (SELECT r.text FROM resets AS r) || string_agg(
               format('ALTER ROLE %I IN DATABASE %I ', $1, current_database()) || d.setting, '; ' ORDER BY d.n)
    FROM (VALUES (1, format('SET search_path = %I', $2)), (2, 'SET statement_timeout = ''' || $3 || 's'''),
                 (3, 'SET idle_in_transaction_session_timeout = ''' || $4 || 's''')) AS d (n, setting)
    HAVING bool_and(d.setting IS NOT NULL)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._login_defaults(text, text, integer, integer) FROM PUBLIC;

-- What differs of the logins that tenants' credentials were issued for, while they are open: attributes, limit,
-- memberships, and their defaults in this database and in all. It is a part of _drift, whose columns it has; `helper`
-- is the role keeper that runs the statement. A password cannot be seen, and a login that is closed, or is
-- to be closed since its grace is over, needs nothing.
--
-- A tenant may give its login other defaults, and a user anything: what only a superuser may take back comes with the
-- statement. So does what a library defines that is not loaded here, for the server asks for a superuser then.
--
-- Logins that another database of the server uses too are left as they are. That something differs is one row without
-- text then, `shared`, so that the tenant's fingerprint is not stored as right and the survey looks again.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._credential_drift(schema_ids uuid[])
RETURNS TABLE (schema_id uuid, kind text, what text, repairable boolean, statement text, role_name text,
               other_role text, helper integer)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH server AS MATERIALIZED (
        SELECT current_setting('server_version_num')::integer >= 160000 AS modern, d.oid AS place,
               i.connect_role_oid AS entry, edu_matrix_hub_schema._connect_role_name() AS entry_name,
               (SELECT array_agg(g.name) FROM pg_settings AS g WHERE g.context = 'user') AS settable
        FROM pg_database AS d CROSS JOIN edu_matrix_hub_schema.installation AS i
        WHERE d.datname = current_database()
    ), keeper AS MATERIALIZED (
        SELECT k.n, r.oid, r.rolname FROM edu_matrix_hub_schema.role_keepers AS k
        JOIN pg_roles AS r ON r.oid = k.role_oid
        UNION ALL
        SELECT NULL, r.oid, r.rolname FROM pg_roles AS r WHERE r.rolname = current_user
    ), login AS MATERIALIZED (
        SELECT t.id, t.keeper, t.access, t.schema_name, t.owner_namespace, t.owner_name, t.reader_role, t.writer_role,
               t.reader_role_oid, t.writer_role_oid, l.name, l.oid, l.name = c.login AS in_use, c.connection_limit,
               c.statement_timeout_seconds, c.idle_in_transaction_timeout_seconds, r.rolname, r.rolcanlogin,
               r.rolconnlimit, r.rolvaliduntil, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolsuper,
               r.rolreplication, r.rolbypassrls
        FROM edu_matrix_hub_schema.tenant_credentials AS c
        JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = c.schema_id AND t.status IN ('active', 'suspended')
        JOIN pg_namespace AS n ON n.oid = t.schema_oid AND n.nspname = t.schema_name
        CROSS JOIN LATERAL unnest(t.logins, t.login_oids) AS l (name, oid)
        LEFT JOIN pg_roles AS r ON r.oid = l.oid
        WHERE c.schema_id = ANY ($1) AND c.withdrawn_at IS NULL
          AND (l.name = c.login
               OR l.name = c.previous_login AND c.previous_closed_at IS NULL AND c.previous_until > now())
    ), own AS MATERIALIZED (
        -- The column exists from 16 on.
        SELECT l.*, s.*,
               ARRAY(SELECT m.roleid FROM pg_auth_members AS m
                     WHERE m.member = l.oid
                       AND coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true)) AS inherited
        FROM login AS l CROSS JOIN server AS s WHERE l.rolname = l.name
    ), found AS (
        SELECT l.id, 'login' AS kind, format('login "%s" is missing', l.name) AS what, false AS repairable,
               format('kubectl annotate tenantschema --namespace %s %s --overwrite '
                      'edumatrixhub.io/rotate-requested-at=$(date --utc +%%FT%%TZ)',
                      l.owner_namespace, l.owner_name) AS statement,
               l.name AS role_name, NULL AS other_role, l.keeper AS helper
        FROM login AS l WHERE l.in_use AND l.rolname IS NULL AND to_regrole(quote_ident(l.name)) IS NULL

        UNION ALL
        -- From 16 on we can do nothing to a login on which its keeper lost ADMIN.
        SELECT o.id, 'admin', format('login "%s" is not administered by "%s" any more', o.name, k.rolname), false,
               format('GRANT %I TO %I WITH ADMIN OPTION', o.name, k.rolname), o.name, k.rolname, o.keeper
        FROM own AS o
        JOIN keeper AS k ON k.n IS NOT DISTINCT FROM o.keeper
        WHERE o.modern AND NOT EXISTS (SELECT FROM pg_auth_members AS m WHERE m.roleid = o.oid AND m.member = k.oid
                                         AND m.admin_option)

        UNION ALL
        SELECT o.id, 'login', format('login "%s" %s', o.name, a.what),
               a.ours AND NOT o.rolsuper AND (o.modern OR NOT o.rolreplication),
               format('ALTER ROLE %I %s', o.name, a.attribute), o.name, NULL, o.keeper
        FROM own AS o
        CROSS JOIN LATERAL (
            VALUES (NOT o.rolcanlogin AND o.access = 'ReadWrite', 'may not log in', 'LOGIN', true),
                   (o.rolconnlimit <> o.connection_limit,
                    format('has the connection limit %s, not %s', o.rolconnlimit, o.connection_limit),
                    'CONNECTION LIMIT ' || o.connection_limit, true),
                   (o.rolvaliduntil < 'infinity', 'has a password that ends', 'VALID UNTIL ''infinity''', true),
                   (NOT o.rolinherit, 'has NOINHERIT', 'INHERIT', true)
            UNION ALL
            -- From 16 on only a role that has CREATEDB itself may take it from another.
            SELECT w.is_set, 'has ' || w.attribute, 'NO' || w.attribute, w.ours
            FROM (VALUES ('CREATEROLE', o.rolcreaterole, true), ('CREATEDB', o.rolcreatedb, NOT o.modern),
                         ('SUPERUSER', o.rolsuper, false), ('REPLICATION', o.rolreplication, false),
                         ('BYPASSRLS', o.rolbypassrls, false)) AS w (attribute, is_set, ours)
            ) AS a (is_so, what, attribute, ours)
        WHERE a.is_so

        UNION ALL
        SELECT o.id, 'login', format(CASE WHEN w.wanted THEN 'login "%s" may give on "%s"'
                                          ELSE 'login "%s" is a member of "%s"' END, o.name, g.rolname),
               CASE WHEN o.modern THEN giver.oid IS NOT NULL ELSE NOT g.rolsuper END,
               format('REVOKE %s%I FROM %I', CASE WHEN w.wanted THEN 'ADMIN OPTION FOR ' ELSE '' END, g.rolname, o.name)
               || CASE WHEN o.modern THEN format(' GRANTED BY %I', pg_get_userbyid(m.grantor)) ELSE '' END,
               o.name, g.rolname, giver.n
        FROM own AS o
        JOIN pg_auth_members AS m ON m.member = o.oid
        JOIN pg_roles AS g ON g.oid = m.roleid
        CROSS JOIN LATERAL (SELECT coalesce(g.oid IN (o.reader_role_oid, o.writer_role_oid, o.entry),
                                            false) AS wanted) AS w
        LEFT JOIN keeper AS giver ON giver.oid = m.grantor AND o.modern
        WHERE NOT w.wanted OR m.admin_option

        UNION ALL
        SELECT o.id, w.kind, format('login "%s" is no member of "%s"', o.name, w.name), true,
               format('GRANT %I TO %I%s', w.name, o.name,
                      CASE WHEN o.modern THEN ' WITH ADMIN FALSE, INHERIT TRUE, SET FALSE' ELSE '' END),
               o.name, w.name, w.helper
        FROM own AS o
        CROSS JOIN LATERAL (VALUES ('login', o.reader_role, o.reader_role_oid, o.keeper),
                                   ('login', o.writer_role, o.writer_role_oid, o.keeper),
                                   ('entry', o.entry_name, o.entry, NULL)) AS w (kind, name, oid, helper)
        LEFT JOIN pg_roles AS g ON g.oid = w.oid
        WHERE (g.rolname = w.name OR w.kind = 'entry') AND g.oid = ANY (o.inherited) IS NOT TRUE

        UNION ALL
        -- A tenant chooses how long its defaults are; ours are short.
        SELECT o.id, 'login', format(CASE WHEN d.ours THEN 'login "%s" has other defaults: %s'
                                          ELSE 'login "%s" has defaults that are a superuser''s: %s' END,
                                     o.name, d.names),
               d.ours AND NOT o.rolsuper,
               CASE WHEN d.ours THEN edu_matrix_hub_schema._login_defaults(
                                         o.name, o.schema_name, o.statement_timeout_seconds,
                                         o.idle_in_transaction_timeout_seconds)
                    ELSE d.statements END, o.name, NULL, o.keeper
        FROM own AS o
        CROSS JOIN LATERAL (
            SELECT x.ours, string_agg(DISTINCT x.name, ', ' ORDER BY x.name) AS names,
                   string_agg(format('ALTER ROLE %I %sRESET %s', o.name,
                                     CASE WHEN x.everywhere THEN ''
                                          ELSE format('IN DATABASE %I ', current_database()) END,
                                     (SELECT string_agg(quote_ident(p.part), '.' ORDER BY p.n)
                                      FROM string_to_table(x.name, '.') WITH ORDINALITY AS p (part, n))),
                              '; ' ORDER BY x.name, x.everywhere) AS statements
            FROM (
                SELECT coalesce(h.name, w.name) AS name, h.everywhere,
                       h.name IS NULL OR h.name = 'too many to be listed' OR h.name = ANY (o.settable) AS ours
                FROM (
                    SELECT s.everywhere, split_part(v.setting, '=', 1) AS name,
                           substr(v.setting, strpos(v.setting, '=') + 1) AS value
                    FROM (SELECT true AS everywhere, e.setconfig FROM pg_db_role_setting AS e
                          WHERE e.setdatabase = 0 AND e.setrole = o.oid
                          UNION ALL
                          SELECT false, e.setconfig FROM pg_db_role_setting AS e
                          WHERE e.setdatabase = o.place AND e.setrole = o.oid) AS s
                    CROSS JOIN LATERAL unnest(CASE WHEN pg_column_size(s.setconfig) < 8192 THEN s.setconfig
                                                   ELSE ARRAY['too many to be listed'] END) AS v (setting)
                ) AS h
                FULL JOIN (VALUES (false, 'search_path', quote_ident(o.schema_name)),
                                  (false, 'statement_timeout', o.statement_timeout_seconds || 's'),
                                  (false, 'idle_in_transaction_session_timeout',
                                   o.idle_in_transaction_timeout_seconds || 's')) AS w (everywhere, name, value)
                  ON w.name = h.name AND w.value = h.value AND w.everywhere = h.everywhere
                WHERE h.name IS NULL OR w.name IS NULL) AS x
            GROUP BY x.ours) AS d
    ), shared AS MATERIALIZED (
        SELECT t.id
        FROM (SELECT DISTINCT f.id FROM found AS f) AS d
        JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = d.id
        WHERE edu_matrix_hub_schema._other_databases(ARRAY(
                  SELECT r.rolname::text FROM pg_roles AS r
                  WHERE r.oid = ANY (t.login_oids || ARRAY[t.owner_role_oid, t.reader_role_oid,
                                                           t.writer_role_oid]))) <> '{}'
    )
    SELECT f.id, f.kind, f.what, f.repairable, f.statement, f.role_name, f.other_role, f.helper
    FROM found AS f WHERE NOT EXISTS (SELECT FROM shared AS s WHERE s.id = f.id)
    UNION ALL
    SELECT s.id, 'shared', NULL, false, NULL, NULL, NULL, NULL FROM shared AS s
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._credential_drift(uuid[]) FROM PUBLIC;
