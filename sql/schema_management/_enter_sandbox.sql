-- Runs statements in an open sandbox, as the tenant's owner, and returns what they left in `result`. A sandbox is
-- entered once and then closed: after that nothing in it can be trusted to be as it was made.
--
-- tasks: [{statement, fallback?, optional?}...]. What fails inside was raised by code that may be the tenant's, so
-- neither its SQLSTATE nor its DETAIL goes on as it is: it becomes a refusal of ours, marked as the `tenant`'s.
-- That something may pass is believed, since another tenant can fill the lock table or hold a lock, but not for ever: a
-- job that hears it is tried for a day, and what is being restored waits for ten minutes unless the lock is seen; what
-- else ends it is not tried so for ever either (_remake_references). Advisory locks are what the server does not undo:
-- the session's are always released, seen or not, since one on a key that is held already looks like the other in
-- pg_locks; our functions have none. A sandbox that leaves some that are seen is refused.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._enter_sandbox(schema_id uuid, sandbox text, tasks jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    owner         text;
    owner_oid     oid;
    sound         boolean;
    locked        boolean;
    most          CONSTANT bigint := 2 * edu_matrix_hub_schema._lock_budget();
    time_limit    CONSTANT interval := current_setting('statement_timeout')::interval;
    timed_out     boolean;
    state         text;
    error_message text;
    results       jsonb;
    returned      bigint;
BEGIN
    SELECT t.owner_role, t.owner_role_oid INTO STRICT owner, owner_oid FROM edu_matrix_hub_schema.tenant_schemas AS t
    WHERE t.id = schema_id;
    SELECT p.prosecdef AND p.proowner = r.oid AND c.relowner = r.oid AND n.nspowner = current_user::regrole INTO sound
    FROM pg_namespace AS n
    JOIN pg_proc AS p ON p.pronamespace = n.oid AND p.proname = 'enter' AND p.pronargs = 0
    JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = 'once'
    JOIN pg_roles AS r ON r.oid = owner_oid AND r.rolname = owner
    WHERE n.nspname = sandbox;
    IF sound IS NOT TRUE THEN
        PERFORM edu_matrix_hub_schema._refuse('busy', 'its sandbox is gone or was changed; it will be made again',
                                              '{"tenant": true}');
    END IF;

    IF EXISTS (SELECT FROM pg_locks AS l WHERE l.locktype = 'advisory' AND l.pid = pg_backend_pid()) THEN
        PERFORM edu_matrix_hub_schema._refuse('busy', 'this session holds advisory locks, '
                                                      'and reading a tenant''s tables would release them; '
                                                      'release them first, or call in another session');
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', sandbox, owner);
    EXECUTE format('GRANT SELECT ON %I.work TO %I', sandbox, owner);
    EXECUTE format('GRANT INSERT ON %I.result TO %I', sandbox, owner);
    EXECUTE format($insert$
        INSERT INTO %I.work (step, statement, fallback, optional)
        SELECT t.step, t.task ->> 'statement', t.task ->> 'fallback', coalesce((t.task ->> 'optional')::boolean, false)
        FROM jsonb_array_elements($1) WITH ORDINALITY AS t (task, step)
        $insert$, sandbox) USING tasks;

    BEGIN
        EXECUTE format('SELECT %I.enter()', sandbox);
    EXCEPTION
        -- OTHERS is everything but these two, and tenants may raise any.
        WHEN query_canceled OR assert_failure OR OTHERS THEN
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, error_message = MESSAGE_TEXT;
    END;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, edu_matrix_hub_schema, pg_temp', true);
    timed_out := time_limit > interval '0' AND clock_timestamp() > statement_timestamp() + time_limit;
    locked := EXISTS (SELECT FROM pg_locks AS l WHERE l.locktype = 'advisory' AND l.pid = pg_backend_pid());
    PERFORM pg_advisory_unlock_all();
    IF locked THEN
        PERFORM edu_matrix_hub_schema._refuse('internal',
            format('code that role "%s" runs when its tables are read takes advisory locks; '
                   'remove it from index, statistics and policy expressions', owner), '{"tenant": true}');
    END IF;
    IF state IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._refuse(
            CASE WHEN state = '57014' THEN 'cancelled'
                 WHEN edu_matrix_hub_schema._may_pass(state, error_message) THEN 'busy'
                 WHEN state = '42501' THEN 'insufficient_privilege'
                 ELSE 'internal' END,
            format('as role "%s": %s (SQLSTATE %s)%s', owner, left(error_message, 1000), state,
                   CASE state WHEN '53100' THEN '; the disk of the database server is full'
                               WHEN '53200' THEN '; if that goes on, raise max_locks_per_transaction' ELSE '' END),
            jsonb_build_object('sqlstate', state, 'tenant', true));
    END IF;
    IF timed_out THEN
        PERFORM edu_matrix_hub_schema._refuse('cancelled',
            format('as role "%s": it took longer than statement_timeout (%s), and code of that role caught the '
                   'cancellation', owner, time_limit),
            '{"sqlstate": "57014", "tenant": true}');
    END IF;
    EXECUTE format($result$
        SELECT coalesce(jsonb_agg(jsonb_build_object('step', r.step, 'value', r.value) ORDER BY r.step), '[]'), count(*)
        FROM (SELECT s.step, s.value FROM %I.result AS s WHERE pg_column_size(s.value) <= 16384 LIMIT %s) AS r
        $result$, sandbox, most)
    INTO results, returned;
    IF returned >= most THEN
        PERFORM edu_matrix_hub_schema._refuse('internal',
            format('code that role "%s" runs when its tables are read writes into the results; remove it', owner),
            '{"tenant": true}');
    END IF;
    RETURN results;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._enter_sandbox(uuid, text, jsonb) FROM PUBLIC;
