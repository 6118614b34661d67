-- What server, database and login are, before anything is installed: one row, one column. $1 is the name
-- of the owner role.
--
-- `missing` lists what keeps the operator from installing and upgrading the functions itself (Managed),
-- `missing_for_verified` what keeps it from calling functions that a DBA installed; each with the statement for a
-- role that may run it. It reads the catalogue only and needs no privilege, so it works before, beside and
-- without an installation.
WITH asked AS (
    SELECT $1::text AS owner_name,
           pg_catalog.regexp_replace($1::text, '_owner$', '') || '_admin' AS admin_name,
           pg_catalog.left(pg_catalog.regexp_replace($1::text, '_owner$', ''), 54) || '_operator' AS operator_name,
           pg_catalog.current_setting('server_version_num')::integer AS version,
           pg_catalog.current_setting('server_version_num')::integer >= 160000 AS modern
), facts AS (
    SELECT a.*, d.datname, l.rolname AS login, l.rolsuper, l.rolcreaterole,
           pg_catalog.pg_has_role(l.oid, d.datdba, 'USAGE') AS owns_database,
           pg_catalog.has_database_privilege(l.oid, d.oid, 'CREATE') AS can_create,
           pg_catalog.has_database_privilege(l.oid, d.oid, 'CREATE WITH GRANT OPTION') AS can_give_create,
           pg_catalog.has_database_privilege(l.oid, d.oid, 'CONNECT WITH GRANT OPTION') AS can_give_connect,
           o.oid AS owner_oid, m.oid AS admin_oid, r.oid AS operator_oid,
           o.rolcreaterole AND o.rolinherit AS owner_creates_roles,
           o.rolsuper OR o.rolcanlogin AS owner_is_unfit,
           CASE WHEN m.rolsuper OR m.rolcanlogin THEN a.admin_name
                WHEN r.rolsuper OR r.rolcanlogin THEN a.operator_name END AS unfit_name,
           pg_catalog.has_database_privilege(o.oid, d.oid, 'CREATE') AS owner_can_create,
           pg_catalog.has_database_privilege(o.oid, d.oid, 'CONNECT WITH GRANT OPTION') AS owner_can_let_in,
           pg_catalog.pg_has_role(l.oid, o.oid, CASE WHEN a.modern THEN 'SET' ELSE 'MEMBER' END) AS can_set_owner,
           pg_catalog.pg_has_role(l.oid, r.oid, 'USAGE') AS is_operator,
           l.rolsuper OR CASE WHEN a.modern THEN pg_catalog.pg_has_role(l.oid, o.oid, 'MEMBER WITH ADMIN OPTION')
                              ELSE l.rolcreaterole END AS gives_owner,
           l.rolsuper OR CASE WHEN a.modern THEN pg_catalog.pg_has_role(l.oid, r.oid, 'MEMBER WITH ADMIN OPTION')
                              ELSE l.rolcreaterole END AS gives_operator,
           n.oid AS registry_oid, holder.rolname AS registry_owner,
           EXISTS (SELECT FROM pg_catalog.pg_proc AS p
                   WHERE p.pronamespace = n.oid AND p.proname = 'installation' AND p.pronargs = 0
                     AND pg_catalog.has_schema_privilege(l.oid, n.oid, 'USAGE')
                     AND pg_catalog.has_function_privilege(l.oid, p.oid, 'EXECUTE')) AS callable,
           EXISTS (SELECT FROM pg_catalog.pg_proc AS p WHERE p.pronamespace = n.oid
                     AND p.proname = 'installation') AS installed
    FROM asked AS a
    JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
    JOIN pg_catalog.pg_roles AS l ON l.rolname = current_user
    LEFT JOIN pg_catalog.pg_roles AS o ON o.rolname = a.owner_name
    LEFT JOIN pg_catalog.pg_roles AS m ON m.rolname = a.admin_name
    LEFT JOIN pg_catalog.pg_roles AS r ON r.rolname = a.operator_name
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = 'edu_matrix_hub_schema'
    LEFT JOIN pg_catalog.pg_roles AS holder ON holder.oid = n.nspowner
), lacks AS (
    SELECT w.position, w.managed, w.verified, w.what, w.statement
    FROM facts AS f
    CROSS JOIN LATERAL (VALUES
        (1, f.owner_is_unfit, false,
         pg_catalog.format('role "%s" is a superuser or may log in, and would lend that to every role that calls a '
                           'function; name another owner role', f.owner_name),
         pg_catalog.format('ALTER ROLE %I NOSUPERUSER NOLOGIN', f.owner_name)),
        (2, f.unfit_name IS NOT NULL, false,
         pg_catalog.format('role "%s" is a superuser or may log in; name another owner role', f.unfit_name),
         pg_catalog.format('ALTER ROLE %I NOSUPERUSER NOLOGIN', coalesce(f.unfit_name, ''))),
        (3, f.registry_owner <> f.owner_name, f.registry_owner <> f.owner_name,
         pg_catalog.format('schema "edu_matrix_hub_schema" belongs to role "%s" and not to "%s"; '
                           'name that one as the owner role', f.registry_owner, f.owner_name),
         pg_catalog.format('ALTER SCHEMA edu_matrix_hub_schema OWNER TO %I', f.owner_name)),
        (4, f.owner_oid IS NULL AND NOT (f.rolsuper OR f.rolcreaterole), false,
         pg_catalog.format('role "%s" does not exist, and "%s" has no CREATEROLE', f.owner_name, f.login),
         pg_catalog.format('CREATE ROLE %I NOLOGIN CREATEROLE', f.owner_name)),
        (5, NOT f.owner_creates_roles AND NOT (f.rolsuper OR (f.rolcreaterole AND f.gives_owner)),
         NOT f.owner_creates_roles, pg_catalog.format('role "%s" lacks CREATEROLE or INHERIT', f.owner_name),
         pg_catalog.format('ALTER ROLE %I CREATEROLE INHERIT', f.owner_name)),
        (6, f.admin_oid IS NULL AND NOT (f.rolsuper OR f.rolcreaterole), f.admin_oid IS NULL AND f.installed,
         pg_catalog.format('role "%s" does not exist', f.admin_name),
         pg_catalog.format('CREATE ROLE %I NOLOGIN', f.admin_name)),
        (7, f.operator_oid IS NULL AND NOT (f.rolsuper OR f.rolcreaterole), f.operator_oid IS NULL AND f.installed,
         pg_catalog.format('role "%s" does not exist', f.operator_name),
         pg_catalog.format('CREATE ROLE %I NOLOGIN', f.operator_name)),
        (8, f.owner_can_create IS NOT TRUE AND NOT (f.rolsuper OR f.can_give_create), NOT f.owner_can_create,
         pg_catalog.format('role "%s" may not create schemas in database "%s"', f.owner_name, f.datname),
         pg_catalog.format('GRANT CREATE ON DATABASE %I TO %I', f.datname, f.owner_name)),
        (9, f.owner_can_let_in IS NOT TRUE AND NOT (f.rolsuper OR f.can_give_connect), NOT f.owner_can_let_in,
         pg_catalog.format('role "%s" may not let logins connect to database "%s"', f.owner_name, f.datname),
         pg_catalog.format('GRANT CONNECT ON DATABASE %I TO %I WITH GRANT OPTION', f.datname, f.owner_name)),
        (10, f.can_set_owner IS NOT TRUE AND f.gives_owner IS NOT TRUE
         AND NOT (f.owner_oid IS NULL AND f.rolcreaterole), false,
         pg_catalog.format('"%s" may not become "%s"', f.login, f.owner_name),
         pg_catalog.format('GRANT %I TO %I', f.owner_name, f.login)
             || CASE WHEN f.modern THEN ' WITH SET TRUE, INHERIT FALSE' ELSE '' END),
        (11, f.is_operator IS NOT TRUE AND f.gives_operator IS NOT TRUE
         AND NOT (f.operator_oid IS NULL AND f.rolcreaterole),
         f.is_operator IS NOT TRUE, pg_catalog.format('"%s" is not a member of "%s", or does not inherit from it',
                                                      f.login, f.operator_name),
         CASE WHEN f.modern THEN pg_catalog.format('GRANT %I TO %I WITH INHERIT TRUE', f.operator_name, f.login)
              WHEN pg_catalog.pg_has_role(f.login, f.operator_oid, 'MEMBER') THEN
                  pg_catalog.format('ALTER ROLE %I INHERIT', f.login)
              ELSE pg_catalog.format('GRANT %I TO %I', f.operator_name, f.login) END),
        (12, false, NOT f.installed,
         'the functions are not installed',
         pg_catalog.format('-- what `tenant-schema-operator sql --owner-role %s` prints', f.owner_name))
    ) AS w (position, managed, verified, what, statement)
)
SELECT pg_catalog.jsonb_build_object(
    'server_version_num', f.version,
    'server_version', pg_catalog.current_setting('server_version'),
    'in_recovery', pg_catalog.pg_is_in_recovery(),
    -- The statement that ends it, by where the setting is from; in the database itself it would be read only, too.
    'read_only', (SELECT CASE s.source
                             WHEN 'user' THEN pg_catalog.format('ALTER ROLE %I RESET %I', session_user, s.name)
                             WHEN 'database' THEN pg_catalog.format('BEGIN READ WRITE; ALTER DATABASE %I RESET '
                                                                    '%I; COMMIT', f.datname, s.name)
                             WHEN 'database user' THEN
                                 pg_catalog.format('BEGIN READ WRITE; ALTER ROLE %I IN DATABASE %I RESET %I; COMMIT',
                                                   session_user, f.datname, s.name)
                             ELSE pg_catalog.format('ALTER SYSTEM RESET %I; SELECT pg_reload_conf()', s.name) END
                  FROM pg_catalog.pg_settings AS s WHERE s.name = 'default_transaction_read_only' AND s.setting = 'on'),
    'database_name', f.datname,
    'current_user', current_user,
    'session_user', session_user,
    'is_superuser', f.rolsuper,
    'has_createrole', f.rolcreaterole,
    'owns_database', f.owns_database,
    'can_create_in_database', f.can_create,
    'registry_exists', f.registry_oid IS NOT NULL,
    'installed', f.callable,
    'roles_exist', f.owner_oid IS NOT NULL AND f.admin_oid IS NOT NULL AND f.operator_oid IS NOT NULL,
    'owner_can_createrole', coalesce(f.owner_creates_roles, false),
    'owner_has_its_rights', coalesce(f.owner_can_create AND f.owner_can_let_in, false),
    'can_set_owner_role', coalesce(f.can_set_owner, false),
    'is_operator', coalesce(f.is_operator, false),
    'missing', (
        SELECT coalesce(pg_catalog.jsonb_agg(
            pg_catalog.jsonb_build_object('what', l.what, 'statement', l.statement) ORDER BY l.position), '[]')
        FROM lacks AS l WHERE l.managed),
    'missing_for_verified', (
        SELECT coalesce(pg_catalog.jsonb_agg(
            pg_catalog.jsonb_build_object('what', l.what, 'statement', l.statement) ORDER BY l.position), '[]')
        FROM lacks AS l WHERE l.verified)
) AS database
FROM facts AS f
