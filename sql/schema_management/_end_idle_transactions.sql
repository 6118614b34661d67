-- Ends the sessions of tenants' logins that have been idle in a transaction for longer than their credential allows.
-- That limit is a default of the login too, and a session may set it to 0: it would hold its locks, and keep VACUUM
-- from every table of the database, for ever. Returns of how many tenants any were ended; a survey calls this.
--
-- What a session is doing the server shows only to a member of its role; that it is in a transaction, and in which, is
-- shown to all by its lock on that. So each transaction that a survey meets is noted, and only one that is met again
-- when it may be too old is looked at, by the owner role as a member for that moment. One that is at work then has the
-- limit's time once more. So it ends after at most twice its limit and two surveys; where the owner role may see all
-- sessions, the same is done.
--
-- It waits for no lock and is soon over, and what fails is left for the next survey. Tenants come in no order, so that
-- those that fail do not keep others from their turn. A prepared transaction has no session.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._end_idle_transactions(started timestamptz) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '100ms'
AS $function$
DECLARE
    tenant_id uuid;
    ended     integer[];
    tenants   integer := 0;
BEGIN
    WITH running AS MATERIALIZED (
        SELECT l.pid, l.virtualtransaction AS transaction
        FROM pg_locks AS l WHERE l.locktype = 'virtualxid' AND l.granted AND l.virtualxid = l.virtualtransaction
    ), over AS (
        DELETE FROM edu_matrix_hub_schema.login_transactions AS t
        WHERE NOT EXISTS (SELECT FROM running AS r WHERE r.pid = t.pid AND r.transaction = t.transaction)
    )
    INSERT INTO edu_matrix_hub_schema.login_transactions (pid, transaction, login_oid, schema_id, looked_at)
    SELECT r.pid, r.transaction, o.login_oid, o.schema_id, started
    FROM running AS r
    JOIN pg_stat_activity AS a ON a.pid = r.pid AND a.datname = current_database()
    JOIN edu_matrix_hub_schema.opened_logins AS o ON o.login_oid = a.usesysid
    ON CONFLICT DO NOTHING;
    FOR tenant_id IN
        SELECT d.schema_id
        FROM (SELECT DISTINCT i.schema_id FROM edu_matrix_hub_schema.login_transactions AS i
              CROSS JOIN LATERAL edu_matrix_hub_schema._idle_limit(i.schema_id, i.login_oid) AS l (seconds)
              WHERE i.looked_at < started - make_interval(secs => l.seconds)) AS d
        ORDER BY random() LIMIT 20
    LOOP
        EXIT WHEN clock_timestamp() > started + interval '5 seconds';
        BEGIN
            CONTINUE WHEN NOT edu_matrix_hub_schema._tenant_lock(tenant_id, 'access', true);
            ended := edu_matrix_hub_schema._end_idle_sessions(tenant_id, started);
            CONTINUE WHEN ended = '{}';
            tenants := tenants + 1;
            PERFORM edu_matrix_hub_schema._log_ended_sessions(tenant_id, started,
                'end the sessions that were idle in a transaction for longer than their credential allows',
                jsonb_build_object('pids', ended));
        EXCEPTION WHEN OTHERS THEN
            CONTINUE;
        END;
    END LOOP;
    RETURN tenants;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._end_idle_transactions(timestamptz) FROM PUBLIC;

-- How many seconds sessions of a login may be idle in a transaction; null for any number, as of a login that no
-- credential names.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._idle_limit(schema_id uuid, login_oid oid) RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT nullif(c.idle_in_transaction_timeout_seconds, 0)
    FROM edu_matrix_hub_schema.tenant_credentials AS c
    JOIN pg_roles AS r ON r.oid = $2 AND r.rolname IN (c.login, c.previous_login)
    WHERE c.schema_id = $1
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._idle_limit(uuid, oid) FROM PUBLIC;

-- Looks at those of one tenant, and returns the process ids of those that it ended.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._end_idle_sessions(tenant_id uuid, started timestamptz)
RETURNS integer[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    tenant  edu_matrix_hub_schema.tenant_schemas;
    logins  text[];
    session record;
    ended   integer[] := '{}'::integer[];
BEGIN
    SELECT * INTO STRICT tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = tenant_id;
    SELECT coalesce(array_agg(DISTINCT r.rolname::text), '{}') INTO logins
    FROM edu_matrix_hub_schema.login_transactions AS i
    JOIN pg_roles AS r ON r.oid = i.login_oid AND r.rolname = ANY (edu_matrix_hub_schema._own_logins(tenant))
    WHERE i.schema_id = tenant_id;
    PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'take', logins);
    -- The list of sessions is as it was when the transaction first asked for it.
    PERFORM pg_stat_clear_snapshot();
    FOR session IN
        SELECT a.pid, i.transaction,
               coalesce(a.state ~ '^idle in transaction'
                        AND a.state_change < clock_timestamp() - make_interval(secs => l.seconds), false) AS is_over
        FROM edu_matrix_hub_schema.login_transactions AS i
        CROSS JOIN LATERAL edu_matrix_hub_schema._idle_limit(i.schema_id, i.login_oid) AS l (seconds)
        JOIN pg_stat_activity AS a ON a.pid = i.pid AND a.usesysid = i.login_oid AND a.usename = ANY (logins)
        WHERE i.schema_id = tenant_id AND i.looked_at < started - make_interval(secs => l.seconds)
    LOOP
        IF session.is_over THEN
            PERFORM pg_terminate_backend(session.pid);
            ended := ended || session.pid;
        ELSE
            UPDATE edu_matrix_hub_schema.login_transactions AS i SET looked_at = started
            WHERE i.pid = session.pid AND i.transaction = session.transaction;
        END IF;
    END LOOP;
    PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'give_back', logins);
    RETURN ended;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._end_idle_sessions(uuid, timestamptz) FROM PUBLIC;
