-- Keeps the tenant's own logins from coming in, and ends the sessions of all its roles in this database. Logins that
-- another database of the server uses too stay open, since its users need them. Foreign roles that a user made members
-- of the tenant's roles are left alone: they are not ours, and what they may do ends with the grants.
--
-- Returns {closed: [login...], ended: n, not_ended: [{pid, role}...], shared_with: [database...]}. Ending sessions
-- takes effect at once, also if the transaction is rolled back; a login that comes in between this and the commit is
-- found by the next call, by _end_suspended_sessions or by _end_late_sessions.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._close_tenant_logins(schema_id uuid) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    tenant      edu_matrix_hub_schema.tenant_schemas;
    own         text[];
    shares      text[];
    open_logins text[];
    first       jsonb;
    sessions    jsonb;
BEGIN
    SELECT * INTO STRICT tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = schema_id;
    own := edu_matrix_hub_schema._own_roles(tenant);
    shares := edu_matrix_hub_schema._other_databases(own);
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET shared_with = shares, reported = NULL
    WHERE t.id = schema_id AND t.shared_with <> shares;
    SELECT coalesce(array_agg(r.rolname::text ORDER BY r.rolname), '{}') INTO open_logins
    FROM pg_roles AS r
    WHERE r.rolcanlogin AND r.rolname = ANY (own);
    IF open_logins <> '{}' AND shares <> '{}' THEN
        open_logins := '{}';
    ELSIF open_logins <> '{}' THEN
        -- A session may hold its own role, as by a change of its password that it does not commit.
        first := edu_matrix_hub_schema._end_sessions(tenant, own);
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'nologin', open_logins);
        UPDATE edu_matrix_hub_schema.tenant_schemas AS t
        SET closed_logins = (SELECT coalesce(array_agg(DISTINCT login), '{}')
                             FROM unnest(t.closed_logins || open_logins) AS login
                             WHERE login = ANY (t.logins))
        WHERE t.id = schema_id;
    END IF;
    sessions := edu_matrix_hub_schema._end_sessions(tenant, own);
    RETURN jsonb_build_object(
        'closed', open_logins, 'shared_with', shares, 'not_ended', sessions -> 'not_ended',
        'ended', edu_matrix_hub_schema._count_ended(first, sessions));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._close_tenant_logins(uuid) FROM PUBLIC;

-- Ends the sessions that these roles of a tenant have in this database: {ended: [pid...], not_ended: [{pid, role}...]}.
-- One that was ended goes on being listed for a moment, so two calls may name the same.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._end_sessions(tenant edu_matrix_hub_schema.tenant_schemas,
                                                               roles text[]) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    connected text[];
    backend   record;
    ended     jsonb := '[]'::jsonb;
    not_ended jsonb := '[]'::jsonb;
BEGIN
    -- The list of sessions is as it was when the transaction first asked for it.
    PERFORM pg_stat_clear_snapshot();
    SELECT coalesce(array_agg(DISTINCT a.usename::text), '{}') INTO connected
    FROM pg_stat_activity AS a
    WHERE a.usename = ANY (roles) AND a.datname = current_database();
    IF connected <> '{}' THEN
        -- Ending a session asks for membership in its role.
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'take', connected);
        FOR backend IN
            SELECT a.pid, a.usename FROM pg_stat_activity AS a
            WHERE a.usename = ANY (connected) AND a.datname = current_database()
        LOOP
            BEGIN
                PERFORM pg_terminate_backend(backend.pid);
                ended := ended || to_jsonb(backend.pid);
            EXCEPTION WHEN insufficient_privilege THEN
                not_ended := not_ended || jsonb_build_object('pid', backend.pid, 'role', backend.usename);
            END;
        END LOOP;
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'give_back', connected);
    END IF;
    RETURN jsonb_build_object('ended', ended, 'not_ended', not_ended);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._end_sessions(edu_matrix_hub_schema.tenant_schemas, text[]) FROM PUBLIC;

-- How many sessions two calls of _end_sessions ended; the first may be none.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._count_ended(first jsonb, again jsonb) RETURNS bigint
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT count(DISTINCT e.pid)
    FROM jsonb_array_elements(coalesce(first -> 'ended', '[]') || (again -> 'ended')) AS e (pid)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._count_ended(jsonb, jsonb) FROM PUBLIC;
