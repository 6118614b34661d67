-- The roles that can become this one by SET ROLE, in one step or through others. `taken` are memberships that count
-- besides those that stand: [{role, member}...], as object identifiers. From PostgreSQL 16 on that needs SET on every
-- membership in between: a role keeper, and through it each member of the role that owns the functions, has only ADMIN
-- on a tenant's roles, and cannot become them.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._can_become(wanted oid, taken jsonb DEFAULT '[]') RETURNS SETOF oid
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH RECURSIVE reached AS (
        SELECT wanted AS oid
        UNION
        SELECT e.member FROM reached AS f
        CROSS JOIN LATERAL (SELECT t.member FROM jsonb_to_recordset(taken) AS t (role oid, member oid)
                            WHERE t.role = f.oid
                            UNION ALL
                            -- This column exists from 16 on.
                            SELECT a.member FROM pg_auth_members AS a
                            WHERE a.roleid = f.oid AND coalesce((to_jsonb(a) ->> 'set_option')::boolean, true)) AS e
    )
    SELECT r.oid FROM reached AS r WHERE r.oid <> wanted
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._can_become(oid, jsonb) FROM PUBLIC;
