-- The name of a setting as a statement has it: an extension's has a dot.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._setting_name(name text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT string_agg(quote_ident(p.part), '.' ORDER BY p.n)
    FROM string_to_table($1, '.') WITH ORDINALITY AS p (part, n)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._setting_name(text) FROM PUBLIC;

-- The statements that give a login its defaults in this database and no others; null when one of them is. With
-- `begins_as` its sessions begin as that role.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._login_defaults(text, text, integer, integer);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._login_defaults(login text, schema_name text,
                                                                 statement_timeout_seconds integer,
                                                                 idle_in_transaction_timeout_seconds integer,
                                                                 begins_as text DEFAULT NULL)
RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT format('ALTER ROLE %I RESET ALL; ', $1) || string_agg(
               format('ALTER ROLE %I IN DATABASE %I ', $1, current_database()) || d.setting, '; ' ORDER BY d.n)
    FROM (VALUES (1, 'RESET ALL'), (2, format('SET search_path = %I', $2)),
                 (3, 'SET statement_timeout = ''' || $3 || 's'''),
                 (4, 'SET idle_in_transaction_session_timeout = ''' || $4 || 's'''),
                 (5, format('SET role = %L', $5))) AS d (n, setting)
    WHERE d.n < 5 OR $5 IS NOT NULL
    HAVING bool_and(d.setting IS NOT NULL)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._login_defaults(text, text, integer, integer, text) FROM PUBLIC;

-- Whether a login has a default that only a session of its own can take back: PostgreSQL lets no function that runs
-- with its owner's rights set a role, nor unset one, and RESET ALL fails over it too. Null where its defaults are too
-- long to be read: a tenant may store hundreds of megabytes.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._keeps_defaults(login_oid oid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT CASE WHEN bool_or(pg_column_size(s.setconfig) >= 8192) THEN NULL
                ELSE coalesce(bool_or(CASE WHEN pg_column_size(s.setconfig) < 8192 THEN EXISTS (
                         SELECT FROM unnest(s.setconfig) AS v (setting)
                         WHERE split_part(v.setting, '=', 1) IN ('role', 'session_authorization')) END), false) END
    FROM pg_db_role_setting AS s
    WHERE s.setrole = $1
      AND s.setdatabase IN (0, (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database()))
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._keeps_defaults(oid) FROM PUBLIC;

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
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
    RETURN QUERY
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
        SELECT t.id, t.keeper, k.connect_role_oid AS entry_group, t.access, t.schema_name, t.reader_role, t.writer_role,
               format('kubectl annotate tenantschema --namespace %s %s --overwrite '
                      'edumatrixhub.io/rotate-requested-at=$(date --utc +%%FT%%TZ)',
                      t.owner_namespace, t.owner_name) AS rotation,
               -- What is too long to be read may have no such default: then RESET ALL does.
               c.purpose = 'migration' OR coalesce(edu_matrix_hub_schema._keeps_defaults(l.oid), false) AS keeps,
               t.reader_role_oid, t.writer_role_oid,
               t.owner_role, t.owner_role_oid, t.taken_members IS NOT NULL AS is_blocked, t.deleter_role_oid,
               edu_matrix_hub_schema._deleter_name(t) AS deleter_role, c.purpose = 'migration' AS migrates, l.name,
               l.oid,
               l.name = c.login AS in_use, c.connection_limit,
               c.statement_timeout_seconds, c.idle_in_transaction_timeout_seconds, r.rolname, r.rolcanlogin,
               r.rolconnlimit, r.rolvaliduntil, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolsuper,
               r.rolreplication, r.rolbypassrls
        FROM edu_matrix_hub_schema.tenant_credentials AS c
        JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = c.schema_id AND t.status IN ('active', 'suspended')
        JOIN pg_namespace AS n ON n.oid = t.schema_oid AND n.nspname = t.schema_name
        LEFT JOIN edu_matrix_hub_schema.role_keepers AS k ON k.n = t.keeper
        CROSS JOIN LATERAL unnest(t.logins, t.login_oids) AS l (name, oid)
        LEFT JOIN pg_roles AS r ON r.oid = l.oid
        WHERE c.schema_id = ANY ($1) AND c.withdrawn_at IS NULL
          AND (l.name = c.login
               OR l.name = c.previous_login AND c.previous_closed_at IS NULL AND c.previous_until > now())
    ), own AS MATERIALIZED (
        -- The options exist from 16 on. For a migration a login becomes the owner role, all others inherit theirs.
        SELECT l.*, s.*,
               ARRAY(SELECT m.roleid FROM pg_auth_members AS m
                     WHERE m.member = l.oid
                       AND coalesce((to_jsonb(m) ->> CASE WHEN l.migrates AND m.roleid = l.owner_role_oid
                                                          THEN 'set_option' ELSE 'inherit_option' END)::boolean,
                                    true)) AS usable,
               -- While writes are taken from a tenant its logins only read, and perhaps delete.
               CASE WHEN l.is_blocked THEN ARRAY[l.reader_role_oid, l.deleter_role_oid, s.entry, l.entry_group]
                    WHEN l.migrates THEN ARRAY[l.owner_role_oid, s.entry, l.entry_group]
                    ELSE ARRAY[l.reader_role_oid, l.writer_role_oid, s.entry, l.entry_group] END AS groups
        FROM login AS l CROSS JOIN server AS s WHERE l.rolname = l.name
    ), found AS (
        SELECT l.id, 'login' AS kind, format('login "%s" is missing', l.name) AS what, false AS repairable,
               l.rotation AS statement, l.name AS role_name, NULL AS other_role, l.keeper AS helper
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
            VALUES (NOT o.rolcanlogin AND o.access <> 'Suspended', 'may not log in', 'LOGIN', true),
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
        CROSS JOIN LATERAL (SELECT coalesce(g.oid = ANY (o.groups), false) AS wanted) AS w
        LEFT JOIN keeper AS giver ON giver.oid = m.grantor AND o.modern
        WHERE NOT w.wanted OR m.admin_option

        UNION ALL
        SELECT o.id, w.kind, format('login "%s" is no member of "%s"', o.name, w.name), true,
               format('GRANT %I TO %I%s', w.name, o.name,
                      CASE WHEN NOT o.modern THEN ''
                           WHEN w.oid = o.owner_role_oid THEN ' WITH ADMIN FALSE, INHERIT FALSE, SET TRUE'
                           ELSE ' WITH ADMIN FALSE, INHERIT TRUE, SET FALSE' END),
               o.name, w.name, w.helper
        FROM own AS o
        CROSS JOIN LATERAL (VALUES ('login', o.owner_role, o.owner_role_oid, o.keeper, true),
                                   ('login', o.reader_role, o.reader_role_oid, o.keeper, true),
                                   ('login', o.writer_role, o.writer_role_oid, o.keeper, true),
                                   ('login', o.deleter_role, o.deleter_role_oid, o.keeper, o.access = 'WriteBlocked'),
                                   ('entry', o.entry_name, o.entry, o.keeper, true))
                                  AS w (kind, name, oid, helper, wanted)
        LEFT JOIN pg_roles AS g ON g.oid = w.oid
        WHERE w.wanted AND (w.kind = 'entry' OR g.rolname = w.name AND g.oid = ANY (o.groups))
          AND g.oid = ANY (o.usable) IS NOT TRUE
          -- From 16 on a login may connect through the group of its keeper.
          AND NOT (w.kind = 'entry' AND coalesce(o.entry_group = ANY (o.usable)
                                                 AND pg_has_role(o.entry_group, g.oid, 'USAGE'), false))

        UNION ALL
        -- A tenant chooses how long its defaults are; ours are short. Those of a login that keeps one are taken back
        -- one by one; which it keeps, or are too many for that, it can only take back itself, which takes a new
        -- password.
        SELECT o.id, 'login',
               format(CASE d.whose WHEN 'ours' THEN 'login "%s" has other defaults: %s'
                                   WHEN 'login' THEN 'login "%s" has defaults that take a new password: %s'
                                   ELSE 'login "%s" has defaults that are a superuser''s: %s' END, o.name, d.names),
               d.whose = 'ours' AND NOT o.rolsuper,
               CASE WHEN d.whose = 'login' THEN o.rotation
                    WHEN d.whose = 'ours' AND NOT o.keeps
                         THEN edu_matrix_hub_schema._login_defaults(o.name, o.schema_name, o.statement_timeout_seconds,
                                                                    o.idle_in_transaction_timeout_seconds)
                    ELSE d.statements END, o.name, NULL, o.keeper
        FROM own AS o
        CROSS JOIN LATERAL (
            SELECT x.whose, string_agg(DISTINCT x.name, ', ' ORDER BY x.name) AS names,
                   string_agg(format('ALTER ROLE %I %s%s', o.name,
                                     CASE WHEN x.everywhere THEN ''
                                          ELSE format('IN DATABASE %I ', current_database()) END,
                                     coalesce('SET ' || x.wanted,
                                              'RESET ' || edu_matrix_hub_schema._setting_name(x.name))),
                              '; ' ORDER BY x.name, x.everywhere, x.wanted NULLS FIRST) AS statements
            FROM (
                SELECT coalesce(h.name, w.name) AS name, coalesce(h.everywhere, w.everywhere) AS everywhere, w.wanted,
                       CASE WHEN coalesce(h.name, w.name) IN ('role', 'session_authorization') THEN 'login'
                            WHEN h.name = 'too many to be listed' THEN CASE WHEN o.keeps THEN 'login' ELSE 'ours' END
                            WHEN h.name IS NULL OR h.name = ANY (o.settable) THEN 'ours'
                            ELSE 'superuser' END AS whose
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
                FULL JOIN (SELECT w.*, format('%s = %L', w.name, w.value) AS wanted
                           FROM (VALUES (false, 'search_path', o.schema_name::text),
                                        (false, 'statement_timeout', o.statement_timeout_seconds || 's'),
                                        (false, 'idle_in_transaction_session_timeout',
                                         o.idle_in_transaction_timeout_seconds || 's'),
                                        (false, 'role', CASE WHEN o.migrates THEN o.owner_role::text END)
                                ) AS w (everywhere, name, value)
                           WHERE w.value IS NOT NULL) AS w
                  ON w.name = h.name AND w.everywhere = h.everywhere
                 AND h.value = CASE w.name WHEN 'search_path' THEN quote_ident(w.value) ELSE w.value END
                WHERE h.name IS NULL OR w.name IS NULL) AS x
            GROUP BY x.whose) AS d
        -- Those of a former login end with it. It has none of its own where an operator was killed that had just issued
        -- its password, which has reached no Secret.
        WHERE o.in_use OR d.whose <> 'login'

        UNION ALL
        -- What a migration made without being the owner, as after SET ROLE NONE, is the owner's as well, also when its
        -- login is closed. A tenant may make any number: these are looked for among the first thousand, and two hundred
        -- at once are given on.
        SELECT t.id, 'owned', format('%s belongs to login "%s"', x.what, l.name), true,
               format('ALTER %s OWNER TO %I', x.what, t.owner_role), l.name, NULL, t.keeper
        FROM edu_matrix_hub_schema.tenant_schemas AS t
        CROSS JOIN server AS s
        JOIN edu_matrix_hub_schema.migration_logins AS l ON l.schema_id = t.id
        CROSS JOIN LATERAL (
            SELECT CASE WHEN d.classid = 'pg_proc'::regclass
                        THEN 'routine ' || edu_matrix_hub_schema._routine_name(d.objid)
                        ELSE format('%s %s', i.type, i.identity) END AS what
            FROM (SELECT d.classid, d.objid, d.dbid, d.deptype FROM pg_shdepend AS d
                  WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = l.oid LIMIT 1000) AS d
            CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) AS i
            WHERE d.dbid = s.place AND d.deptype = 'o'
              AND (i.type = 'large object'
                   OR i.schema = quote_ident(t.schema_name)
                      AND (d.classid = 'pg_proc'::regclass
                           OR i.type IN ('table', 'view', 'materialized view', 'foreign table', 'sequence', 'type'))
                      -- A table takes the sequences of its columns along.
                      AND NOT (i.type = 'sequence' AND EXISTS (
                          SELECT FROM pg_depend AS o
                          WHERE o.classid = 'pg_class'::regclass AND o.objid = d.objid AND o.deptype IN ('a', 'i')
                            AND o.refclassid = 'pg_class'::regclass AND o.refobjsubid > 0)))
            LIMIT 200) AS x
        WHERE t.id = ANY ($1) AND t.status IN ('active', 'suspended')
    ), shared AS MATERIALIZED (
        SELECT t.id
        FROM (SELECT DISTINCT f.id FROM found AS f) AS d
        JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = d.id
        WHERE edu_matrix_hub_schema._other_databases(ARRAY(
                  SELECT r.rolname::text FROM pg_roles AS r
                  WHERE r.oid = ANY (t.login_oids || ARRAY[t.owner_role_oid, t.reader_role_oid,
                                                           t.writer_role_oid]))) <> '{}'
    )
    SELECT f.id, f.kind::text, f.what, f.repairable, f.statement, f.role_name::text, f.other_role::text, f.helper
    FROM found AS f WHERE NOT EXISTS (SELECT FROM shared AS s WHERE s.id = f.id)
    UNION ALL
    SELECT s.id, 'shared', NULL, false, NULL, NULL, NULL, NULL FROM shared AS s;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._credential_drift(uuid[]) FROM PUBLIC;
