-- Keeps the tenant's own logins from coming in, and ends the sessions of all its roles in every database of the server,
-- for a login may connect to others too, and hold itself from there. Where another database uses these roles too, those
-- of credentials that were issued here are closed all the same, and others stay open, since they are that one's: of
-- these only the sessions in this database end. Foreign roles that a user made members of the
-- tenant's roles are left alone: they are not ours, and what they may do ends with the grants.
--
-- `spared` is a login that is left alone: that of a backup which the operator makes of a tenant that is suspended.
--
-- Returns {closed: [login...], ended: n, not_ended: [{pid, role}...], shared_with: [database...]}. Ending sessions
-- takes effect at once, also if the transaction is rolled back; a login that comes in between this and the commit is
-- found by the next call, by _end_suspended_sessions or by _end_late_sessions.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._close_tenant_logins(uuid);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._close_tenant_logins(schema_id uuid, spared text DEFAULT NULL)
RETURNS jsonb
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
    own := array_remove(own, spared);
    SELECT coalesce(array_agg(r.rolname::text ORDER BY r.rolname), '{}') INTO open_logins
    FROM pg_roles AS r
    WHERE r.rolcanlogin AND r.rolname = ANY (own);
    IF shares <> '{}' THEN
        open_logins := ARRAY(SELECT l.name FROM unnest(open_logins) AS l (name)
                             WHERE l.name = ANY (edu_matrix_hub_schema._issued_logins(tenant.id, true)));
    END IF;
    IF open_logins <> '{}' THEN
        UPDATE edu_matrix_hub_schema.tenant_schemas AS t
        SET closed_logins = (SELECT coalesce(array_agg(DISTINCT login), '{}')
                             FROM unnest(t.closed_logins || open_logins) AS login
                             WHERE login = ANY (t.logins) AND login <> edu_matrix_hub_schema._run_name(t))
        WHERE t.id = schema_id;
    END IF;
    -- What the operator opened for a session of its own is not opened again with the others.
    RETURN edu_matrix_hub_schema._shut_out(tenant, 'nologin', open_logins, own, shares = '{}')
           || jsonb_build_object('closed', array_remove(open_logins, edu_matrix_hub_schema._run_name(tenant)),
                                 'shared_with', shares);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._close_tenant_logins(uuid, text) FROM PUBLIC;

-- The tenant's run login while a session of the operator's is open for a backup (see open_tenant_session), else null.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._backup_login(tenant edu_matrix_hub_schema.tenant_schemas) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT edu_matrix_hub_schema._run_name(tenant)
    FROM edu_matrix_hub_schema.tenant_sessions AS s
    WHERE s.schema_id = tenant.id AND s.purpose = 'backup' AND s.closed_at IS NULL AND s.open_until > clock_timestamp()
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._backup_login(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- The identifier of this database, which a copy of it does not have.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._this_database() RETURNS oid
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database()
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._this_database() FROM PUBLIC;

-- The logins of a tenant's credentials, of today or before, that were opened here, or that were not: in a copy of the
-- database they are the original's. Of those of former releases neither is known.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._issued_logins(schema_id uuid, here boolean) RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT coalesce(array_agg(r.rolname::text), '{}')
    FROM edu_matrix_hub_schema.opened_logins AS o
    JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = o.schema_id
    JOIN pg_roles AS r ON r.oid = o.login_oid AND r.rolname = ANY (t.logins)
    WHERE o.schema_id = $1 AND (o.made_in = edu_matrix_hub_schema._this_database()) = $2
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._issued_logins(uuid, boolean) FROM PUBLIC;

-- Whether another database of the server has the tenant's roles too, and none of its logins was opened here: then
-- its logins are that one's, and what is done to their passwords here is done to its applications.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._logins_are_others(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT edu_matrix_hub_schema._other_databases(edu_matrix_hub_schema._own_roles(tenant)) <> '{}'
           AND edu_matrix_hub_schema._issued_logins(tenant.id, true) = '{}'
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._logins_are_others(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- Does `action` of _role_command to logins of a tenant, and ends the sessions that these have in all databases, and its
-- other roles in this one or in all: {ended: n, pids: [pid...], not_ended: [{pid, role}...]}. Sessions end first, since
-- one may hold its own role, as by a change of its password that it does not commit; and again, for those that came in
-- by then. A login that connects again and again may hold its role once more, so it is done in short attempts, each
-- after another such end, for as long as the caller waits for a lock.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._shut_out(edu_matrix_hub_schema.tenant_schemas, text, text[], text[]);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._shut_out(tenant edu_matrix_hub_schema.tenant_schemas, action text,
                                                           logins text[], roles text[], everywhere boolean)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    former   CONSTANT text := current_setting('lock_timeout');
    give_up  CONSTANT timestamptz := clock_timestamp() + coalesce(nullif(former, '0'), '5s')::interval;
    is_done  boolean := logins = '{}';
    others   CONSTANT text[] := ARRAY(SELECT unnest(roles) EXCEPT SELECT unnest(logins));
    sessions jsonb;
    here     jsonb;
    ended    integer[] := '{}'::integer[];
BEGIN
    LOOP
        sessions := edu_matrix_hub_schema._end_sessions(tenant, logins, true);
        here := edu_matrix_hub_schema._end_sessions(tenant, others, everywhere);
        sessions := jsonb_build_object('ended', (sessions -> 'ended') || (here -> 'ended'),
                                       'not_ended', (sessions -> 'not_ended') || (here -> 'not_ended'));
        -- One that was ended goes on being listed for a moment.
        ended := ARRAY(SELECT unnest(ended) UNION SELECT jsonb_array_elements_text(sessions -> 'ended')::integer);
        EXIT WHEN is_done;
        BEGIN
            PERFORM set_config('lock_timeout', '100ms', true);
            PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, action, logins);
            PERFORM set_config('lock_timeout', former, true);
            is_done := true;
        EXCEPTION WHEN lock_not_available OR internal_error THEN
            IF clock_timestamp() > give_up OR NOT edu_matrix_hub_schema._may_pass(SQLSTATE, SQLERRM) THEN
                RAISE;
            END IF;
        END;
    END LOOP;
    UPDATE edu_matrix_hub_schema.opened_logins AS o SET ended_pids = ended
    WHERE o.schema_id = tenant.id
      AND o.login_oid = ANY (ARRAY(SELECT r.oid FROM pg_roles AS r WHERE r.rolname = ANY (logins)));
    RETURN jsonb_build_object('ended', cardinality(ended), 'pids', ended, 'not_ended', sessions -> 'not_ended');
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._shut_out(edu_matrix_hub_schema.tenant_schemas, text, text[], text[],
                                                       boolean) FROM PUBLIC;

-- Ends the sessions that roles of a tenant have, in this database or in all: {ended: [pid...], not_ended: [{pid,
-- role}...]}.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._end_sessions(tenant edu_matrix_hub_schema.tenant_schemas,
                                                               roles text[], everywhere boolean) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    connected text[];
    backend   record;
    ended     integer[] := '{}'::integer[];
    not_ended jsonb := '[]'::jsonb;
BEGIN
    -- The list of sessions is as it was when the transaction first asked for it.
    PERFORM pg_stat_clear_snapshot();
    SELECT coalesce(array_agg(DISTINCT a.usename::text), '{}') INTO connected
    FROM pg_stat_activity AS a
    WHERE a.usename = ANY (roles) AND (everywhere OR a.datname = current_database());
    IF connected <> '{}' THEN
        -- Ending a session asks for membership in its role.
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'take', connected);
        FOR backend IN
            SELECT a.pid, a.usename FROM pg_stat_activity AS a
            WHERE a.usename = ANY (connected) AND (everywhere OR a.datname = current_database())
        LOOP
            BEGIN
                PERFORM pg_terminate_backend(backend.pid);
                ended := ended || backend.pid;
            EXCEPTION WHEN insufficient_privilege THEN
                not_ended := not_ended || jsonb_build_object('pid', backend.pid, 'role', backend.usename);
            END;
        END LOOP;
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'give_back', connected);
    END IF;
    RETURN jsonb_build_object('ended', ended, 'not_ended', not_ended);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._end_sessions(edu_matrix_hub_schema.tenant_schemas, text[], boolean)
    FROM PUBLIC;
