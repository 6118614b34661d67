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
    ELSE
        PERFORM edu_matrix_hub_schema._refuse_other_connect_role(role_name, known);
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

-- The group of a role keeper: logins of its tenants are members of it, it is a member of its parent's, and that of the
-- role above. With `keeper` null, on PostgreSQL 15, it is that role.
--
-- From 16 on GRANT reads all members of the role that it gives: with one role for all logins of 5,000 tenants the next
-- tenant cost six times what the first one did. It also walks through all that the one who gives is a member of. So a
-- group is given by its own keeper, and only that of a parent, one in 1,024 tenants, by the owner role, which comes to
-- all roles of all tenants.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._connect_group(keeper integer) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    group_name CONSTANT text := edu_matrix_hub_schema._connect_role_name(keeper);
    known      oid;
    giver      integer;
    above      text;
BEGIN
    IF keeper IS NULL THEN
        RETURN edu_matrix_hub_schema._connect_role();
    END IF;
    SELECT k.connect_role_oid, k.parent INTO known, giver
    FROM edu_matrix_hub_schema.role_keepers AS k WHERE k.n = keeper;
    above := edu_matrix_hub_schema._connect_group(giver);
    IF known IS NULL OR to_regrole(quote_ident(group_name)) IS DISTINCT FROM known::regrole THEN
        PERFORM FROM edu_matrix_hub_schema.registry_locks AS l WHERE l.name = 'role_keepers' FOR UPDATE;
        SELECT k.connect_role_oid INTO known FROM edu_matrix_hub_schema.role_keepers AS k WHERE k.n = keeper;
    END IF;
    IF to_regrole(quote_ident(group_name)) IS NULL THEN
        PERFORM edu_matrix_hub_schema._role_command(keeper, 'create', ARRAY[group_name]);
        UPDATE edu_matrix_hub_schema.role_keepers AS k SET connect_role_oid = to_regrole(quote_ident(group_name))
        WHERE k.n = keeper;
    ELSE
        PERFORM edu_matrix_hub_schema._refuse_other_connect_role(group_name, known);
    END IF;
    IF NOT pg_has_role(group_name, above, 'USAGE') THEN
        PERFORM edu_matrix_hub_schema._role_command(giver, 'join inherit', ARRAY[group_name], above);
    END IF;
    RETURN group_name;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._connect_group(integer) FROM PUBLIC;

-- What that role is called; with `keeper` null, the one above.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._connect_role_name();
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._connect_role_name(keeper integer DEFAULT NULL) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT left(regexp_replace(current_user::text, '_owner$', ''),
                43 - coalesce(length($1::text) + 1, 0)) || concat_ws('_', '_connect', d.oid, $1)
    FROM pg_database AS d WHERE d.datname = current_database()
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._connect_role_name(integer) FROM PUBLIC;

-- Refuses where a role of that name stands that is not `known`, ours.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._refuse_other_connect_role(role_name text, known oid) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    stands CONSTANT oid := to_regrole(quote_ident(role_name))::oid;
BEGIN
    IF stands IS DISTINCT FROM known THEN
        PERFORM edu_matrix_hub_schema._refuse('name_taken',
            format('a role "%s" stands that this installation did not make; a DBA can run: ALTER ROLE %I RENAME TO %I',
                   role_name, role_name, left(role_name, 50) || '_' || stands));
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._refuse_other_connect_role(text, oid) FROM PUBLIC;

-- Lets a login of a tenant, whose roles `keeper` keeps, connect.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._let_connect(text);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._let_connect(keeper integer, login text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    PERFORM edu_matrix_hub_schema._role_command(keeper, 'join inherit', ARRAY[login],
                                                edu_matrix_hub_schema._connect_group(keeper));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._let_connect(integer, text) FROM PUBLIC;
