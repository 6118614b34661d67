-- The few things that are done to roles. From PostgreSQL 16 on every role keeper owns a copy of this function (made by
-- _new_role_keeper) which runs as that keeper; on 15 it is called itself and runs as the owner role. Only the owner
-- role may call it or its copies. It names nothing in the registry, since a keeper has no rights there.
--
--   create  makes the roles, unable to log in         take       makes `member` a member of each, with SET and INHERIT
--   open    makes the first of them, `member` its     give_back  ends these memberships
--           member at once, and the others            join       makes each role a member of `member`
--   login   lets the roles log in                     leave      ends that membership
--   nologin ends that                                 drop       drops the roles that stand
--   plain   also takes CREATEROLE                     keeper     makes role keepers, `member` their member at once
--
-- `join` may be followed by those of the options `admin`, `inherit` and `set` that the membership is to have;
-- 15 knows `admin` only.
--
-- Making a role with its first member spares the walk through all memberships that a GRANT begins with. `join` and
-- `leave` are one statement for all roles, since a tenant's groups may have thousands of members.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._keep(action text, roles text[], member text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    options  CONSTANT jsonb := to_jsonb(string_to_array(action, ' '));
    names    CONSTANT text := (SELECT string_agg(quote_ident(r.name), ', ') FROM unnest(roles) AS r (name));
    template text;
    role     text;
BEGIN
    template := CASE split_part(action, ' ', 1)
        WHEN 'open'      THEN 'CREATE ROLE %1$I NOLOGIN ROLE %2$I'
        WHEN 'give_back' THEN 'REVOKE %1$I FROM %2$I'
        WHEN 'take'      THEN CASE WHEN current_setting('server_version_num')::integer >= 160000
                                   THEN 'GRANT %1$I TO %2$I WITH SET TRUE, INHERIT TRUE' ELSE 'GRANT %1$I TO %2$I' END
        WHEN 'create'    THEN 'CREATE ROLE %1$I NOLOGIN'
        WHEN 'login'     THEN 'ALTER ROLE %1$I LOGIN'
        WHEN 'nologin'   THEN 'ALTER ROLE %1$I NOLOGIN'
        WHEN 'join'      THEN CASE WHEN action = 'join' THEN 'GRANT %2$I TO %3$s'
                                   WHEN current_setting('server_version_num')::integer < 160000
                                   THEN 'GRANT %2$I TO %3$s'
                                       || CASE WHEN options ? 'admin' THEN ' WITH ADMIN OPTION' ELSE '' END
                                   ELSE format('GRANT %%2$I TO %%3$s WITH ADMIN %s, INHERIT %s, SET %s',
                                               (options ? 'admin')::text, (options ? 'inherit')::text,
                                               (options ? 'set')::text) END
        WHEN 'leave'     THEN 'REVOKE %2$I FROM %3$s'
        WHEN 'drop'      THEN 'DROP ROLE IF EXISTS %1$I'
        -- From 16 on only a role that has CREATEDB itself may take it from another.
        WHEN 'plain'     THEN CASE WHEN current_setting('server_version_num')::integer >= 160000
                                   THEN 'ALTER ROLE %1$I NOLOGIN NOCREATEROLE'
                                   ELSE 'ALTER ROLE %1$I NOLOGIN NOCREATEROLE NOCREATEDB' END
        WHEN 'keeper'    THEN 'CREATE ROLE %1$I NOLOGIN CREATEROLE ROLE %2$I'
    END;
    IF template IS NULL THEN
        RAISE EXCEPTION 'there is no action "%" on roles', action;
    END IF;
    FOREACH role IN ARRAY roles LOOP
        EXECUTE format(template, role, member, names);
        EXIT WHEN split_part(action, ' ', 1) IN ('join', 'leave');
        IF action = 'open' THEN
            template := 'CREATE ROLE %1$I NOLOGIN';
        END IF;
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._keep(text, text[], text) FROM PUBLIC;
