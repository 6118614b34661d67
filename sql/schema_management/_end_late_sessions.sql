-- Ends the sessions that came in while a schema was being set aside. A login that returns between the end of its
-- session and the commit is let in, can still become the tenant's owner role, stays it when the membership has ended,
-- and can drop what is set aside. Returns for how many tenants any were found; a heartbeat calls this. Where nothing
-- was set aside since the last one it costs one probe of an index.
--
-- It looks once for each. The first heartbeat that sees it, which is after the commit, only notes the time, and one
-- that comes a second later or more looks: by then the server shows also a session that it was just letting in. Which
-- of its roles a session acts as, and when exactly the commit was, the server does not show. So all sessions here end
-- whose login could become the owner role by a membership that the set-aside took, or is the tenant's own; also where
-- it is a member of other tenants, or came in within the seconds between commit and look. A pool connects again at
-- once, but a lost table is lost for good. A login that never was such a member keeps its sessions, and so does one
-- whose membership was left: it would be back at once, and is named in the result of the set-aside. So do all when the
-- tenant is back.
--
-- It waits for no lock. What fails is in the log, and is tried again by the next heartbeats, for a day; those that fail
-- do not keep others from their turn, so they come in no order.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._end_late_sessions() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '100ms'
AS $function$
DECLARE
    started CONSTANT timestamptz := clock_timestamp();
    backup  edu_matrix_hub_schema.schema_backups;
    tenant  edu_matrix_hub_schema.tenant_schemas;
    session record;
    own     jsonb;
    ended   jsonb;
    stay    jsonb;
    failure text;
    tenants integer := 0;
BEGIN
    UPDATE edu_matrix_hub_schema.schema_backups AS b SET sessions_due_seen_at = clock_timestamp()
    WHERE b.id IN (SELECT d.id FROM edu_matrix_hub_schema.schema_backups AS d
                   WHERE d.sessions_due AND d.completed_at > started - interval '1 day'
                     AND d.sessions_due_seen_at IS NULL
                   FOR NO KEY UPDATE SKIP LOCKED);
    FOR backup IN
        SELECT b.* FROM edu_matrix_hub_schema.schema_backups AS b
        WHERE b.sessions_due AND b.completed_at > started - interval '1 day'
          AND b.sessions_due_seen_at < started - interval '1 second'
        ORDER BY random() LIMIT 50 FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        failure := NULL;
        BEGIN
            CONTINUE WHEN NOT edu_matrix_hub_schema._tenant_lock(backup.schema_id, 'access', true);
            UPDATE edu_matrix_hub_schema.schema_backups AS b SET sessions_due = false WHERE b.id = backup.id;
            SELECT * INTO tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = backup.schema_id;
            CONTINUE WHEN tenant.status IS DISTINCT FROM 'dropped' OR backup.state NOT IN ('complete', 'purging');
            ended := '[]';
            stay := '[]';
            own := NULL;
            IF EXISTS (SELECT FROM pg_stat_activity AS a
                       WHERE a.usename = ANY (edu_matrix_hub_schema._own_roles(tenant))) THEN
                -- It waits for grants of these roles that are not committed, and the sessions of others
                -- end in any case.
                BEGIN
                    own := edu_matrix_hub_schema._close_tenant_logins(tenant.id);
                    SELECT stay || coalesce(jsonb_agg(jsonb_build_object(
                        'kind', 'session', 'name', format('%s of login "%s"', s.value ->> 'pid', s.value ->> 'role'),
                        'statement', format('SELECT pg_terminate_backend(%s)', s.value ->> 'pid'))), '[]')
                    INTO stay FROM jsonb_array_elements(own -> 'not_ended') AS s (value);
                EXCEPTION WHEN OTHERS THEN
                    failure := SQLERRM;
                    UPDATE edu_matrix_hub_schema.schema_backups AS b SET sessions_due = true WHERE b.id = backup.id;
                END;
            END IF;
            FOR session IN SELECT l.pid, l.login FROM edu_matrix_hub_schema._late_sessions(backup, tenant) AS l LOOP
                BEGIN
                    PERFORM pg_terminate_backend(session.pid);
                    ended := ended || jsonb_build_object('pid', session.pid, 'login', session.login);
                EXCEPTION WHEN insufficient_privilege THEN
                    stay := stay || jsonb_build_object(
                        'kind', 'session', 'name', format('%s of login "%s"', session.pid, session.login),
                        'statement', format('SELECT pg_terminate_backend(%s)', session.pid));
                END;
            END LOOP;
            CONTINUE WHEN own IS NULL AND ended = '[]' AND stay = '[]' AND failure IS NULL;
            tenants := tenants + 1;
            PERFORM edu_matrix_hub_schema._log_late_sessions(backup, started, failure,
                jsonb_build_object('ended', ended, 'own', own, 'acting', stay));
        EXCEPTION WHEN OTHERS THEN
            failure := SQLERRM;
            BEGIN
                PERFORM edu_matrix_hub_schema._log_late_sessions(backup, started, failure, '{"acting": []}');
            EXCEPTION WHEN OTHERS THEN
                -- That the holder of the lane is alive is said in any case.
                RAISE LOG 'cannot end the sessions that came in while schema "%" was set aside: %',
                    backup.schema_name, failure;
            END;
        END;
    END LOOP;
    RETURN tenants;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._end_late_sessions() FROM PUBLIC;

-- Its row in the log. `facts`: {ended, own, acting}; `failure` is why it is tried again.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._log_late_sessions(
    backup edu_matrix_hub_schema.schema_backups, started timestamptz, failure text, facts jsonb
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    is_well CONSTANT boolean := failure IS NULL AND facts -> 'acting' = '[]';
BEGIN
    PERFORM edu_matrix_hub_schema._log(backup.schema_id, 'end_sessions',
        CASE WHEN is_well THEN 'success' ELSE 'error' END, NULL, started,
        format('end the sessions that came in while schema "%s" was set aside', backup.schema_name), facts,
        CASE WHEN NOT is_well THEN format('schema "%s" is set aside as "%s"', backup.schema_name, backup.location)
            || coalesce(edu_matrix_hub_schema._acting_text(facts -> 'acting'), '')
            || coalesce('; sessions that came in meanwhile may act as its owner and drop its tables, '
                        'and could not be ended: ' || failure
                        || '; it is tried again for a day', '') END);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._log_late_sessions(edu_matrix_hub_schema.schema_backups, timestamptz,
                                                                text, jsonb) FROM PUBLIC;

-- The sessions of other logins: those that could become the owner role by a membership which the set-aside took, and
-- cannot any more. The manifest has the memberships that it took, and the numbers of their roles; those between roles
-- of others are as they are. A session that came in a minute after the commit was seen never could, and is not ended
-- again and again while another part is tried again.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._late_sessions(
    backup edu_matrix_hub_schema.schema_backups, tenant edu_matrix_hub_schema.tenant_schemas
) RETURNS TABLE (pid integer, login text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH taken AS (
        SELECT jsonb_agg(jsonb_build_object('role', role.oid::bigint, 'member', member.oid::bigint)) AS edges
        FROM jsonb_array_elements(backup.manifest -> 'members') AS m (value)
        JOIN pg_roles AS role ON role.rolname = m.value ->> 'role'
         AND role.rolname = ANY (edu_matrix_hub_schema._own_roles(tenant))
        JOIN pg_roles AS member ON member.rolname = m.value ->> 'member'
         AND member.oid::bigint = (backup.manifest #>> ARRAY['roles', member.rolname])::bigint
        WHERE NOT (m.value ->> 'left')::boolean AND coalesce((m.value ->> 'set')::boolean, true)
    ), before AS (
        SELECT e.oid FROM taken AS t CROSS JOIN LATERAL edu_matrix_hub_schema._can_become(tenant.owner_role_oid,
            coalesce(t.edges, '[]')) AS e (oid)
    ), now AS (
        SELECT e.oid FROM edu_matrix_hub_schema._can_become(tenant.owner_role_oid) AS e (oid)
    )
    SELECT a.pid, a.usename::text
    FROM pg_stat_activity AS a
    JOIN before AS f ON f.oid = a.usesysid
    JOIN pg_roles AS r ON r.oid = f.oid AND NOT r.rolsuper AND r.rolname NOT IN (current_user, session_user)
    -- Without pg_read_all_stats the server does not show when a session of others began.
    WHERE a.datname = current_database()
      AND coalesce(a.backend_start < backup.sessions_due_seen_at + interval '1 minute', true)
      AND NOT EXISTS (SELECT FROM now AS n WHERE n.oid = f.oid)
      AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.role_keepers AS k WHERE k.role_oid = f.oid)
    ORDER BY a.pid
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._late_sessions(edu_matrix_hub_schema.schema_backups,
                                                            edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;
