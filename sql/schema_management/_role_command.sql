-- Does something to roles (the actions of _keep) as the role keeper that has ADMIN on them; keeper null
-- means the owner role.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._role_command(keeper integer, action text, roles text[],
                                                               member text DEFAULT current_user)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    IF keeper IS NULL THEN
        PERFORM edu_matrix_hub_schema._keep(action, roles, member);
    ELSE
        EXECUTE 'SELECT edu_matrix_hub_schema._keep_' || keeper || '($1, $2, $3)' USING action, roles, member;
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._role_command(integer, text, text[], text) FROM PUBLIC;
