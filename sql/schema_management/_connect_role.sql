-- The role through which logins of tenants may connect to this database, since CONNECT need not be PUBLIC's. It is made
-- when it is needed first: one for each database, because a grant to every login would make the list of the database's
-- grants as long as the fleet. A copy of this database has another one.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._connect_role() RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    place     CONSTANT oid := (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database());
    role_name CONSTANT text := edu_matrix_hub_schema._connect_role_name();
    known     oid;
BEGIN
    SELECT i.connect_role_oid INTO known FROM edu_matrix_hub_schema.installation AS i;
    IF known IS NULL OR to_regrole(quote_ident(role_name)) IS DISTINCT FROM known::regrole THEN
        -- Two tenants may need it first at the same time.
        PERFORM FROM edu_matrix_hub_schema.registry_locks AS l WHERE l.name = 'role_keepers' FOR UPDATE;
        SELECT i.connect_role_oid INTO known FROM edu_matrix_hub_schema.installation AS i;
    END IF;
    IF to_regrole(quote_ident(role_name)) IS NULL THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        UPDATE edu_matrix_hub_schema.installation AS i SET connect_role_oid = to_regrole(quote_ident(role_name));
    ELSIF known IS NULL OR to_regrole(quote_ident(role_name)) <> known::regrole THEN
        PERFORM edu_matrix_hub_schema._refuse('name_taken',
            format('a role "%s" stands that this installation did not make; a DBA can run: ALTER ROLE %I RENAME TO %I',
                   role_name, role_name, left(role_name, 50) || '_' || to_regrole(quote_ident(role_name))::oid));
    END IF;
    -- Its own, since what it has as a part of PUBLIC may be taken from that.
    IF NOT EXISTS (SELECT FROM pg_database AS d, aclexplode(d.datacl) AS a
                   WHERE d.oid = place AND a.grantee = to_regrole(quote_ident(role_name))
                     AND a.privilege_type = 'CONNECT') THEN
        IF NOT has_database_privilege(current_user, place, 'CONNECT WITH GRANT OPTION') THEN
            PERFORM edu_matrix_hub_schema._refuse('insufficient_privilege',
                format('role "%1$s" may not let logins connect; a DBA can run: GRANT CONNECT ON DATABASE %2$I TO %1$I '
                       'WITH GRANT OPTION', current_user, current_database()));
        END IF;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role_name);
    END IF;
    RETURN role_name;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._connect_role() FROM PUBLIC;

-- What that role is called.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._connect_role_name() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT left(regexp_replace(current_user::text, '_owner$', ''), 43) || '_connect_' || d.oid
    FROM pg_database AS d WHERE d.datname = current_database()
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._connect_role_name() FROM PUBLIC;

-- Makes a login a member of it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._let_connect(login text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    EXECUTE format('GRANT %I TO %I', edu_matrix_hub_schema._connect_role(), login)
            || CASE WHEN current_setting('server_version_num')::integer >= 160000
                    THEN ' WITH INHERIT TRUE, SET FALSE' ELSE '' END;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._let_connect(text) FROM PUBLIC;
