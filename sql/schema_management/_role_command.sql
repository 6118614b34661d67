-- Does something to roles as the role keeper that has ADMIN on them; keeper null means the owner role.
--
--   create  makes the roles, unable to log in         take       makes `member` a member of each, with SET and INHERIT
--   open    makes the first of them, `member` its     give_back  ends these memberships
--           member at once, and the others            join       makes each role a member of `member`
--   login   lets the roles log in                     leave      ends that membership
--   nologin ends that                                 drop       drops the roles that stand
--   forget  ends that, and forgets the password       keeper     makes role keepers, `member` their member at once
--   plain   ends that, and takes CREATEROLE
--
-- `join` may be followed by those of the options `admin`, `inherit` and `set` that the membership is to have;
-- 15 knows `admin` only.
--
-- Making a role with its first member spares the walk through all memberships that a GRANT begins with. `join` and
-- `leave` are one statement for all roles, since a tenant's groups may have thousands of members. The keeper's copy of
-- _keep is given statements, whose names are quoted here, and not the action: see there.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._role_command(keeper integer, action text, roles text[],
                                                               member text DEFAULT current_user)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    verb       CONSTANT text := split_part(action, ' ', 1);
    modern     CONSTANT boolean := current_setting('server_version_num')::integer >= 160000;
    options    jsonb;
    template   text;
    role       text;
    statements text[] := ARRAY[]::text[];
BEGIN
    template := CASE verb
        WHEN 'open'      THEN 'CREATE ROLE %1$I NOLOGIN ROLE %2$I'
        WHEN 'give_back' THEN 'REVOKE %1$I FROM %2$I'
        WHEN 'take'      THEN CASE WHEN modern THEN 'GRANT %1$I TO %2$I WITH SET TRUE, INHERIT TRUE'
                                   ELSE 'GRANT %1$I TO %2$I' END
        WHEN 'create'    THEN 'CREATE ROLE %1$I NOLOGIN'
        WHEN 'login'     THEN 'ALTER ROLE %1$I LOGIN'
        WHEN 'nologin'   THEN 'ALTER ROLE %1$I NOLOGIN'
        WHEN 'forget'    THEN 'ALTER ROLE %1$I NOLOGIN PASSWORD NULL'
        WHEN 'join'      THEN 'GRANT %2$I TO %1$s'
        WHEN 'leave'     THEN 'REVOKE %2$I FROM %1$s'
        WHEN 'drop'      THEN 'DROP ROLE IF EXISTS %1$I'
        -- From 16 on only a role that has CREATEDB itself may take it from another.
        WHEN 'plain'     THEN CASE WHEN modern THEN 'ALTER ROLE %1$I NOLOGIN NOCREATEROLE'
                                   ELSE 'ALTER ROLE %1$I NOLOGIN NOCREATEROLE NOCREATEDB' END
        WHEN 'keeper'    THEN 'CREATE ROLE %1$I NOLOGIN CREATEROLE ROLE %2$I'
    END;
    IF template IS NULL THEN
        RAISE EXCEPTION 'there is no action "%" on roles', action;
    ELSIF roles = '{}' THEN
        RETURN;
    ELSIF verb IN ('join', 'leave') THEN
        options := to_jsonb(string_to_array(action, ' '));
        statements := ARRAY[
            format(template, (SELECT string_agg(quote_ident(r.name), ', ') FROM unnest(roles) AS r (name)), member)
            || CASE WHEN action IN ('join', 'leave') THEN ''
                    WHEN modern THEN format(' WITH ADMIN %s, INHERIT %s, SET %s', (options ? 'admin')::text,
                                            (options ? 'inherit')::text, (options ? 'set')::text)
                    WHEN options ? 'admin' THEN ' WITH ADMIN OPTION'
                    ELSE '' END];
    ELSE
        FOREACH role IN ARRAY roles LOOP
            statements := array_append(statements, format(template, role, member));
            IF verb = 'open' THEN
                template := 'CREATE ROLE %1$I NOLOGIN';
            END IF;
        END LOOP;
    END IF;
    EXECUTE format('SELECT edu_matrix_hub_schema.%I($1)', concat_ws('_', '_keep', keeper))
    USING array_to_string(statements, '; ');
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._role_command(integer, text, text[], text) FROM PUBLIC;
