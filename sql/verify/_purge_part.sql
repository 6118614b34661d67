-- Raises unless _purge_part and its two helpers are there as installed: owned by the registry's owner, closed to PUBLIC, and, where marked,
-- running as its owner with a fixed search_path, and open to the admin role.
DO $verify$
DECLARE
    problem text;
BEGIN
    SELECT string_agg(format('%s(%s) %s', f.name, f.arguments, f.problem), '; ') INTO problem
    FROM (
        SELECT w.name, w.arguments, CASE
            WHEN p.oid IS NULL THEN 'is missing'
            WHEN p.proowner <> n.nspowner THEN 'does not belong to the owner role'
            WHEN p.prosecdef <> w.definer THEN 'runs as the wrong role'
            WHEN w.definer AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS c WHERE c LIKE 'search_path=pg_catalog, %pg_temp') THEN 'has no fixed search_path'
            WHEN p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) AS a WHERE a.grantee = 0) THEN 'is open to PUBLIC'
            WHEN w.is_public <> EXISTS (SELECT FROM aclexplode(p.proacl) AS a WHERE pg_get_userbyid(a.grantee) = regexp_replace(pg_get_userbyid(n.nspowner), '_owner$', '') || '_admin')
            THEN CASE WHEN w.is_public THEN 'is closed to the admin role' ELSE 'is open to the admin role' END
            END AS problem
        FROM (VALUES
             ('_purge_part', 'namespace oid, begun boolean', true, false),
             ('_drop_inside', 'namespace oid, kind text, names text, catalog oid, objects oid[]', true, false),
             ('_drop_rest', 'namespace oid, tables oid[]', true, false),
             ('_lock_tables', 'tables oid[]', true, false),
             ('_lighten', 'namespace oid, heavy oid, budget bigint', true, false)
        ) AS w (name, arguments, definer, is_public)
        LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = 'edu_matrix_hub_schema'
        LEFT JOIN pg_catalog.pg_proc AS p
          ON p.pronamespace = n.oid AND p.proname = w.name AND pg_catalog.pg_get_function_identity_arguments(p.oid) = w.arguments
    ) AS f
    WHERE f.problem IS NOT NULL;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem;
    END IF;
END
$verify$;
