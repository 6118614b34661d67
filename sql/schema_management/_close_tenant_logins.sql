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
        UPDATE edu_matrix_hub_schema.tenant_schemas AS t
        SET closed_logins = (SELECT coalesce(array_agg(DISTINCT login), '{}')
                             FROM unnest(t.closed_logins || open_logins) AS login
                             WHERE login = ANY (t.logins))
        WHERE t.id = schema_id;
    END IF;
    RETURN edu_matrix_hub_schema._shut_out(tenant, 'nologin', open_logins, own)
           || jsonb_build_object('closed', open_logins, 'shared_with', shares);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._close_tenant_logins(uuid) FROM PUBLIC;

-- Does `action` of _role_command to logins of a tenant, and ends the sessions that its roles have in this database:
-- {ended: n, pids: [pid...], not_ended: [{pid, role}...]}. Sessions end first, since one may hold its own role, as by a
-- change of its password that it does not commit; and again, for those that came in by then.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._shut_out(tenant edu_matrix_hub_schema.tenant_schemas, action text,
                                                           logins text[], roles text[]) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    connected text[];
    backend   record;
    ended     integer[] := '{}'::integer[];
    not_ended jsonb;
BEGIN
    FOR round IN 1..2 LOOP
        not_ended := '[]'::jsonb;
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
                    -- One that was ended goes on being listed for a moment.
                    ended := array_remove(ended, backend.pid) || backend.pid;
                EXCEPTION WHEN insufficient_privilege THEN
                    not_ended := not_ended || jsonb_build_object('pid', backend.pid, 'role', backend.usename);
                END;
            END LOOP;
            PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'give_back', connected);
        END IF;
        EXIT WHEN round = 2 OR logins = '{}';
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, action, logins);
    END LOOP;
    RETURN jsonb_build_object('ended', cardinality(ended), 'pids', ended, 'not_ended', not_ended);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._shut_out(edu_matrix_hub_schema.tenant_schemas, text, text[], text[])
    FROM PUBLIC;
