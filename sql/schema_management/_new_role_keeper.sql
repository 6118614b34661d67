-- Makes a role keeper (PostgreSQL 16 and later): a role that cannot log in and has CREATEROLE, and its own copy of _keep.
--
-- It needs no superuser. The owner role has CREATEROLE, so it may make the keeper and holds ADMIN on it; with that it makes
-- itself a member for this transaction, which lets it hand the copy over and, as the copy's owner, take EXECUTE back. Handing
-- over asks for the keeper's CREATE on the schema, given and taken in the same transaction. Nobody can become the keeper later
-- except through ADMIN, and nobody but the owner role can call the copy.
--
-- The caller holds the advisory lock of role keepers: two changes of the schema's grants at once would collide.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._new_role_keeper() RETURNS integer
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

    EXECUTE format('CREATE ROLE %I NOLOGIN CREATEROLE', role_name);
    PERFORM edu_matrix_hub_schema._write_keeper_function(keeper, role_name);
    INSERT INTO edu_matrix_hub_schema.role_keepers (n, role_name, function_name)
    VALUES (keeper, role_name, '_keep_' || keeper);
    RETURN keeper;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._new_role_keeper() FROM PUBLIC;

-- Writes or rewrites the function of one keeper. createrole_self_grant is pinned, because a session that sets it would
-- otherwise leave memberships behind.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._write_keeper_function(keeper integer, role_name text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    signature CONSTANT text := format('edu_matrix_hub_schema.%I(text, text[], text)', '_keep_' || keeper);
    body      text;
BEGIN
    SELECT p.prosrc INTO STRICT body
    FROM pg_proc AS p
    WHERE p.pronamespace = 'edu_matrix_hub_schema'::regnamespace AND p.proname = '_keep';

    EXECUTE format('GRANT %I TO %I WITH SET TRUE, INHERIT TRUE', role_name, current_user);
    EXECUTE format('CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.%I(action text, roles text[], member text) RETURNS void
        LANGUAGE plpgsql VOLATILE SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp SET createrole_self_grant = %L AS %L', '_keep_' || keeper, '', body);
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
    EXECUTE format('GRANT CREATE ON SCHEMA edu_matrix_hub_schema TO %I', role_name);
    EXECUTE format('ALTER FUNCTION %s OWNER TO %I', signature, role_name);
    EXECUTE format('REVOKE CREATE ON SCHEMA edu_matrix_hub_schema FROM %I', role_name);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', signature, current_user);
    EXECUTE format('REVOKE %I FROM %I', role_name, current_user);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._write_keeper_function(integer, text) FROM PUBLIC;
