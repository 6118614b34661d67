-- Brings the functions of all role keepers up to the body of _keep, parents first, and makes the first keepers, so that
-- the first tenant finds one. Does nothing on PostgreSQL 15.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._update_role_keepers() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    outdated record;
BEGIN
    IF current_setting('server_version_num')::integer < 160000 THEN
        RETURN;
    END IF;
    PERFORM FROM edu_matrix_hub_schema.registry_locks AS l WHERE l.name = 'role_keepers' FOR UPDATE;
    FOR outdated IN
        SELECT k.n, k.parent, k.role_name
        FROM edu_matrix_hub_schema.role_keepers AS k
        JOIN pg_proc AS template
          ON template.pronamespace = 'edu_matrix_hub_schema'::regnamespace AND template.proname = '_keep'
        LEFT JOIN pg_proc AS p ON p.pronamespace = template.pronamespace AND p.proname = k.function_name
        WHERE p.prosrc IS DISTINCT FROM template.prosrc
           OR pg_get_userbyid(p.proowner) <> k.role_name
           OR NOT p.prosecdef
           OR p.proconfig IS DISTINCT FROM '{"search_path=pg_catalog, pg_temp",createrole_self_grant=}'
           OR p.proacl IS NULL
           OR EXISTS (SELECT FROM aclexplode(p.proacl) AS a WHERE a.grantee NOT IN (p.proowner, current_user::regrole))
        ORDER BY k.parent IS NULL DESC, k.n
    LOOP
        PERFORM edu_matrix_hub_schema._role_command(outdated.parent, 'take', ARRAY[outdated.role_name]);
        PERFORM edu_matrix_hub_schema._write_keeper_function(outdated.n, outdated.role_name);
        PERFORM edu_matrix_hub_schema._role_command(outdated.parent, 'give_back', ARRAY[outdated.role_name]);
    END LOOP;
    PERFORM edu_matrix_hub_schema._choose_role_keeper();
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._update_role_keepers() FROM PUBLIC;
