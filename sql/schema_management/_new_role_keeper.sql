-- Makes a role keeper (PostgreSQL 16 and later): a role that cannot log in and has CREATEROLE, and its own copy of
-- _keep. `parent` is the keeper that makes and keeps it; null means the owner role, and makes a keeper of keepers.
--
-- It needs no superuser. A role with CREATEROLE may make the keeper, with the owner role as a member; this membership
-- lets the owner role hand the copy over and, as the copy's owner, take EXECUTE back, and ends before the
-- transaction does. With a parent, ending it walks through all roles of all tenants, once in
-- 1,024 tenants. Left standing, it made every session read the list of all keepers at every change of a
-- membership. Handing over asks for the keeper's CREATE on the schema, given and taken in the same transaction. No
-- role can become a keeper later except through ADMIN, and only the owner role can call the copy.
--
-- The caller holds the lock of role keepers: two changes of the schema's grants at once would collide.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._new_role_keeper(parent integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    keeper    integer;
    role_name text;
    suffix    text;
BEGIN
    SELECT coalesce(max(k.n), 0) + 1 INTO keeper FROM edu_matrix_hub_schema.role_keepers AS k;
    suffix := format('_k%s_%s', (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database()), keeper);
    role_name := left(current_user::text, 63 - octet_length(suffix)) || suffix;

    PERFORM edu_matrix_hub_schema._role_command(parent, 'keeper', ARRAY[role_name]);
    PERFORM edu_matrix_hub_schema._write_keeper_function(keeper, role_name);
    PERFORM edu_matrix_hub_schema._role_command(parent, 'give_back', ARRAY[role_name]);
    INSERT INTO edu_matrix_hub_schema.role_keepers (n, parent, role_name, role_oid, function_name)
    VALUES (keeper, parent, role_name, to_regrole(quote_ident(role_name)), '_keep_' || keeper);
    RETURN keeper;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._new_role_keeper(integer) FROM PUBLIC;

-- Writes the function of one keeper, of which the owner role is a member meanwhile. createrole_self_grant is pinned,
-- because a session that sets it would otherwise leave memberships behind.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._write_keeper_function(keeper integer, role_name text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    body   text;
    former regprocedure;
BEGIN
    SELECT p.prosrc INTO STRICT body
    FROM pg_proc AS p
    WHERE p.pronamespace = 'edu_matrix_hub_schema'::regnamespace AND p.proname = '_keep';
    -- Whatever its arguments are: those of a former release were others.
    FOR former IN
        SELECT p.oid::regprocedure
        FROM pg_proc AS p
        WHERE p.pronamespace = 'edu_matrix_hub_schema'::regnamespace AND p.proname = '_keep_' || keeper
    LOOP
        EXECUTE format('DROP FUNCTION %s', former);
    END LOOP;
    EXECUTE format($statements$
        CREATE FUNCTION edu_matrix_hub_schema.%1$I(statements text) RETURNS void
            LANGUAGE plpgsql VOLATILE SECURITY DEFINER
            SET search_path = pg_catalog, pg_temp SET createrole_self_grant = '' AS %4$L;
        REVOKE ALL ON FUNCTION edu_matrix_hub_schema.%1$I(text) FROM PUBLIC;
        GRANT CREATE ON SCHEMA edu_matrix_hub_schema TO %2$I;
        ALTER FUNCTION edu_matrix_hub_schema.%1$I(text) OWNER TO %2$I;
        REVOKE CREATE ON SCHEMA edu_matrix_hub_schema FROM %2$I;
        GRANT EXECUTE ON FUNCTION edu_matrix_hub_schema.%1$I(text) TO %3$I;
        $statements$, '_keep_' || keeper, role_name, current_user, body);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._write_keeper_function(integer, text) FROM PUBLIC;
