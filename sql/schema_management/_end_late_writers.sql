-- Ends the sessions that came in while a tenant's writes were being taken. A login that returns between the end of its
-- session and the commit is let in, may become the writer or the owner role, stays it when the membership has ended,
-- and goes on with what it is just writing. Returns for how many tenants it looked; a heartbeat calls this. Where no
-- writes were taken since the last one it costs one probe of an index.
--
-- It looks once for each. The first heartbeat that sees it, which is after the commit, only notes the time, and one
-- that comes a second later or more looks, as _end_late_sessions does: by then the server shows also a session that it
-- was just letting in. So a session that came back after the commit, before the first of these, ends once more.
--
-- It waits for no lock, and what fails is left for the next heartbeat. Those that fail do not keep others from their
-- turn, so tenants come in no order.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._end_late_writers() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '100ms'
AS $function$
DECLARE
    started   CONSTANT timestamptz := clock_timestamp();
    tenant_id uuid;
    tenant    edu_matrix_hub_schema.tenant_schemas;
    sessions  jsonb;
    tenants   integer := 0;
BEGIN
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET writers_due_seen_at = clock_timestamp()
    WHERE t.id IN (SELECT d.id FROM edu_matrix_hub_schema.tenant_schemas AS d
                   WHERE d.writers_due AND d.writers_due_seen_at IS NULL
                   FOR NO KEY UPDATE SKIP LOCKED);
    FOR tenant_id IN
        SELECT t.id FROM edu_matrix_hub_schema.tenant_schemas AS t
        WHERE t.writers_due AND t.writers_due_seen_at < started - interval '1 second'
        ORDER BY random() LIMIT 20
    LOOP
        EXIT WHEN clock_timestamp() > started + interval '1 second';
        BEGIN
            CONTINUE WHEN NOT edu_matrix_hub_schema._tenant_lock(tenant_id, 'access', true);
            SELECT * INTO tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = tenant_id;
            -- Writes may have been given back meanwhile.
            CONTINUE WHEN NOT tenant.writers_due;
            UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET writers_due = false, writers_due_seen_at = NULL
            WHERE t.id = tenant_id;
            tenants := tenants + 1;
            sessions := edu_matrix_hub_schema._end_writers(tenant, edu_matrix_hub_schema._possible_writers(tenant),
                                                           tenant.writers_due_seen_at);
            CONTINUE WHEN (sessions ->> 'ended')::integer = 0;
            PERFORM edu_matrix_hub_schema._log(tenant_id, 'end_sessions', 'success', NULL, started,
                format('end the sessions that came in while the writes of schema "%s" were taken', tenant.schema_name),
                sessions);
        EXCEPTION WHEN OTHERS THEN
            CONTINUE;
        END;
    END LOOP;
    RETURN tenants;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._end_late_writers() FROM PUBLIC;
