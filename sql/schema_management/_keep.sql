-- The few things that are done to roles. From PostgreSQL 16 on every role keeper owns a copy of this function (made by
-- _new_role_keeper) which runs as that keeper; on 15 it is called itself and runs as the owner role. Only the owner role may
-- call it or its copies. It names nothing in the registry, since a keeper has no rights there.
--
--   create  makes the roles, unable to log in            take       makes `member` a member of each, with SET and INHERIT
--   login   lets the roles log in                        give_back  ends these memberships
--   nologin ends that                                    leave      ends the membership of each role in `member`
--   plain   also takes CREATEROLE and CREATEDB           drop       drops the roles that stand
--   join    makes each role a member of `member`
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._keep(action text, roles text[], member text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    modern   CONSTANT boolean := current_setting('server_version_num')::integer >= 160000;
    template text;
    role     text;
BEGIN
    template := CASE action
        WHEN 'create'    THEN 'CREATE ROLE %1$I NOLOGIN'
        WHEN 'login'     THEN 'ALTER ROLE %1$I LOGIN'
        WHEN 'nologin'   THEN 'ALTER ROLE %1$I NOLOGIN'
        WHEN 'take'      THEN 'GRANT %1$I TO %2$I' || CASE WHEN modern THEN ' WITH SET TRUE, INHERIT TRUE' ELSE '' END
        WHEN 'give_back' THEN 'REVOKE %1$I FROM %2$I'
        WHEN 'join'      THEN 'GRANT %2$I TO %1$I'
        WHEN 'leave'     THEN 'REVOKE %2$I FROM %1$I'
        WHEN 'drop'      THEN 'DROP ROLE IF EXISTS %1$I'
        WHEN 'plain'     THEN 'ALTER ROLE %1$I NOLOGIN NOCREATEROLE'
    END;
    IF template IS NULL THEN
        RAISE EXCEPTION 'there is no action "%" on roles', action;
    END IF;
    FOREACH role IN ARRAY roles LOOP
        EXECUTE format(template, role, member);
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._keep(text, text[], text) FROM PUBLIC;
