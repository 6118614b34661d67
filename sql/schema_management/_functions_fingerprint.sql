-- A hash over the functions of the registry schema that the owner role owns: names, arguments, bodies, settings,
-- and whether PUBLIC may call them. It differs from the recorded one when a user edited a function by hand.
-- The functions of the role keepers are copies of one of these; a keeper's function that is not a true copy
-- changes the hash too.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._functions_fingerprint() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH registry AS (
        SELECT p.*
        FROM pg_proc AS p
        WHERE p.pronamespace = 'edu_matrix_hub_schema'::regnamespace
    ), template AS (
        SELECT r.prosrc FROM registry AS r WHERE r.proname = '_keep' AND r.proowner = current_user::regrole
    ), facts AS (
        SELECT concat_ws('|', r.proname, r.proargtypes::text, r.proargnames::text, r.prosrc,
                         r.prosecdef, r.proconfig::text,
                         r.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(r.proacl) AS a WHERE a.grantee = 0)) AS fact
        FROM registry AS r
        WHERE r.proowner = current_user::regrole
        UNION ALL
        SELECT concat_ws('|', 'not a copy of _keep', k.function_name)
        FROM edu_matrix_hub_schema.role_keepers AS k
        LEFT JOIN registry AS r ON r.proname = k.function_name
        WHERE r.prosrc IS DISTINCT FROM (SELECT t.prosrc FROM template AS t)
           OR NOT r.prosecdef
           OR NOT ('search_path=pg_catalog, pg_temp' = ANY (r.proconfig))
           OR r.proacl IS NULL
           OR EXISTS (SELECT FROM aclexplode(r.proacl) AS a WHERE a.grantee = 0)
    )
    SELECT encode(sha256(convert_to(coalesce(string_agg(f.fact, chr(10) ORDER BY f.fact COLLATE "C"), ''), 'UTF8')),
                  'hex')
    FROM facts AS f
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._functions_fingerprint() FROM PUBLIC;
