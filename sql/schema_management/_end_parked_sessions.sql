-- Ends the sessions of logins that were closed before these came in. A client may ask for as much as 35 minutes between
-- its password and its session (post_auth_delay), during which the server lists it without a name, and no closing finds
-- it. Returns of how many tenants any were found; a heartbeat calls this. Where there are none it costs one look at the
-- sessions and one at an index.
--
-- What belongs to a login that may not log in is ended. A login that was opened again meanwhile, with another password,
-- has good sessions too: those that began since. The server shows when a session began only to a member of its role, so
-- each new one is looked at once, within an hour of the opening. One from before may have given the login a password of
-- its own by the time it is found. So the login in use is withdrawn, which makes the operator issue another password,
-- and the login before it is closed before its grace is over.
--
-- It waits for no lock and is soon over, and what fails is left for the next heartbeat. Tenants come in no order, so
-- that those that fail do not keep others from their turn. Those that are suspended are _end_suspended_sessions's,
-- those that were just set aside are _end_late_sessions's, and logins that are another database's are not closed at
-- all.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._end_parked_sessions() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '100ms'
AS $function$
DECLARE
    started   CONSTANT timestamptz := clock_timestamp();
    closed    oid[];
    tenant_id uuid;
    tenant    edu_matrix_hub_schema.tenant_schemas;
    sessions  jsonb;
    parked    jsonb;
    attempt   text;
    tenants   integer := 0;
BEGIN
    SELECT coalesce(array_agg(DISTINCT r.oid), '{}') INTO closed
    FROM pg_stat_activity AS a
    JOIN pg_roles AS r ON r.oid = a.usesysid
    WHERE NOT r.rolcanlogin AND NOT r.rolsuper
      AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.opened_logins AS o
                      WHERE o.login_oid = r.oid AND a.pid = ANY (o.ended_pids));
    FOR tenant_id IN
        SELECT d.id
        FROM (SELECT t.id FROM edu_matrix_hub_schema.tenant_schemas AS t
              WHERE closed <> '{}' AND t.login_oids && closed AND (t.access <> 'Suspended' OR t.status = 'dropped')
              UNION
              SELECT o.schema_id
              FROM edu_matrix_hub_schema.opened_logins AS o
              JOIN pg_stat_activity AS a ON a.usesysid = o.login_oid AND a.pid <> ALL (o.known_pids || o.ended_pids)
              WHERE o.opened_at > started - interval '1 hour') AS d
        ORDER BY random() LIMIT 20
    LOOP
        EXIT WHEN clock_timestamp() > started + interval '1 second';
        BEGIN
            CONTINUE WHEN NOT edu_matrix_hub_schema._tenant_lock(tenant_id, 'access', true);
            SELECT * INTO tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = tenant_id;
            CONTINUE WHEN tenant.access = 'Suspended' AND tenant.status <> 'dropped'
                       OR EXISTS (SELECT FROM edu_matrix_hub_schema.schema_backups AS b
                                  WHERE b.schema_id = tenant.id AND b.sessions_due
                                    AND b.completed_at > started - interval '1 day')
                       OR edu_matrix_hub_schema._logins_are_others(tenant);
            sessions := edu_matrix_hub_schema._end_sessions(tenant, ARRAY(
                SELECT r.rolname::text
                FROM unnest(edu_matrix_hub_schema._own_logins(tenant)) AS l (name)
                JOIN pg_roles AS r ON r.rolname = l.name AND NOT r.rolcanlogin), true);
            parked := edu_matrix_hub_schema._close_to_parked(tenant, started);
            CONTINUE WHEN sessions -> 'ended' = '[]' AND parked IS NULL;
            tenants := tenants + 1;
            attempt := format('end the sessions of schema "%s" that were coming in when their login was closed',
                              tenant.schema_name);
            IF parked IS NULL THEN
                PERFORM edu_matrix_hub_schema._log_ended_sessions(tenant_id, started, attempt,
                                                                  jsonb_build_object('sessions', sessions));
            ELSE
                PERFORM edu_matrix_hub_schema._log(tenant_id, 'end_sessions', 'success', NULL, started,
                                                   attempt || ', and close what is open of it',
                                                   parked || jsonb_build_object('sessions', sessions));
            END IF;
        EXCEPTION WHEN OTHERS THEN
            CONTINUE;
        END;
    END LOOP;
    RETURN tenants;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._end_parked_sessions() FROM PUBLIC;

-- Closes those open logins of a tenant that have a session from before they were opened, and ends all that they have:
-- {closed, ended, not_ended}; null when there are none. What it has seen to be good it remembers.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._close_to_parked(tenant edu_matrix_hub_schema.tenant_schemas,
                                                                  started timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    credential edu_matrix_hub_schema.tenant_credentials;
    opened     record;
    good       integer[];
    bad        integer[];
    entered    text[] := '{}'::text[];
BEGIN
    FOR opened IN
        SELECT o.login_oid, o.opened_at, o.ended_pids, r.rolname::text AS name
        FROM edu_matrix_hub_schema.opened_logins AS o
        JOIN pg_roles AS r ON r.oid = o.login_oid AND r.rolcanlogin AND NOT r.rolsuper
        WHERE o.schema_id = tenant.id AND o.opened_at > started - interval '1 hour'
          AND r.rolname = ANY (ARRAY(SELECT unnest(edu_matrix_hub_schema._own_logins(tenant))))
          AND EXISTS (SELECT FROM pg_stat_activity AS a
                      WHERE a.usesysid = o.login_oid AND a.pid <> ALL (o.known_pids || o.ended_pids))
    LOOP
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'take', ARRAY[opened.name]);
        SELECT coalesce(array_agg(a.pid) FILTER (WHERE a.backend_start >= opened.opened_at), '{}'),
               coalesce(array_agg(a.pid) FILTER (WHERE a.backend_start < opened.opened_at), '{}')
        INTO good, bad
        FROM pg_stat_activity AS a WHERE a.usesysid = opened.login_oid AND a.pid <> ALL (opened.ended_pids);
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'give_back', ARRAY[opened.name]);
        UPDATE edu_matrix_hub_schema.opened_logins AS o SET known_pids = good WHERE o.login_oid = opened.login_oid;
        IF bad <> '{}' THEN
            entered := entered || opened.name;
        END IF;
    END LOOP;
    IF entered = '{}' THEN
        RETURN NULL;
    END IF;
    SELECT * INTO credential FROM edu_matrix_hub_schema.tenant_credentials AS c
    WHERE c.schema_id = tenant.id AND c.login = ANY (entered);
    IF FOUND THEN
        RETURN edu_matrix_hub_schema._withdraw(tenant, credential.purpose);
    END IF;
    SELECT * INTO credential FROM edu_matrix_hub_schema.tenant_credentials AS c
    WHERE c.schema_id = tenant.id AND c.previous_login = ANY (entered);
    IF FOUND THEN
        RETURN edu_matrix_hub_schema._close_previous(tenant, credential);
    END IF;
    RETURN edu_matrix_hub_schema._close_logins(tenant, entered) || jsonb_build_object('closed', entered);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._close_to_parked(edu_matrix_hub_schema.tenant_schemas, timestamptz)
    FROM PUBLIC;

-- Notes since when the login of a credential has been open. One that gets another password while it stays the login in
-- use was not closed, and keeps its sessions.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._note_opened_login() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    IF TG_OP = 'INSERT' OR NEW.login <> OLD.login THEN
        INSERT INTO edu_matrix_hub_schema.opened_logins AS o (login_oid, schema_id, opened_at, made_in)
        SELECT l.oid, t.id, NEW.issued_at, edu_matrix_hub_schema._this_database()
        FROM edu_matrix_hub_schema.tenant_schemas AS t
        CROSS JOIN LATERAL unnest(t.logins, t.login_oids) AS l (name, oid)
        WHERE t.id = NEW.schema_id AND l.name = NEW.login AND l.oid IS NOT NULL
        ON CONFLICT (login_oid) DO UPDATE
        SET schema_id = excluded.schema_id, opened_at = excluded.opened_at, made_in = excluded.made_in,
            known_pids = '{}';
    END IF;
    RETURN NULL;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._note_opened_login() FROM PUBLIC;
CREATE OR REPLACE TRIGGER note_opened_login AFTER INSERT OR UPDATE OF login ON edu_matrix_hub_schema.tenant_credentials
    FOR EACH ROW EXECUTE FUNCTION edu_matrix_hub_schema._note_opened_login();
