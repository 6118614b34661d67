-- Ends the sessions that suspended tenants still have, in any database of the server: a login that comes in while its
-- tenant is just being suspended is let in and stays connected. Returns how many tenants had any; a heartbeat calls
-- this. Where no tenant is suspended it costs one probe of an index, and else one look at the sessions.
--
-- It waits for no lock, and what fails is left for the next heartbeat: that the holder of the lane is alive is said
-- in any case. Those that fail do not keep others from their turn, so tenants come in no order. The log has at most a
-- row an hour for a tenant, since a login that another database uses too may come again without end.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._end_suspended_sessions() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '100ms'
AS $function$
DECLARE
    started  CONSTANT timestamptz := clock_timestamp();
    tenant   edu_matrix_hub_schema.tenant_schemas;
    tenant_id uuid;
    sessions jsonb;
    tenants  integer := 0;
BEGIN
    IF NOT EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_schemas AS t
                   WHERE t.access = 'Suspended' AND t.status <> 'dropped') THEN
        RETURN 0;
    END IF;
    FOR tenant_id IN
        WITH connected AS MATERIALIZED (
            -- A superuser's session is not ours to end.
            SELECT r.oid, r.rolname::text AS name, bool_or(a.datname = current_database()) AS is_here
            FROM pg_stat_activity AS a
            JOIN pg_roles AS r ON r.oid = a.usesysid AND NOT r.rolsuper
            GROUP BY r.oid, r.rolname
        )
        SELECT t.id
        FROM edu_matrix_hub_schema.tenant_schemas AS t
        CROSS JOIN LATERAL unnest(ARRAY[t.owner_role, t.reader_role, t.writer_role] || t.logins,
                                  ARRAY[t.owner_role_oid, t.reader_role_oid, t.writer_role_oid]
                                      || t.login_oids) AS own (name, oid)
        JOIN connected AS c ON c.oid = own.oid AND c.name = own.name
        WHERE t.access = 'Suspended' AND t.status <> 'dropped'
          AND own.name IS DISTINCT FROM edu_matrix_hub_schema._backup_login(t)
          -- Elsewhere it is another database's users.
          AND (c.is_here OR t.shared_with = '{}')
        GROUP BY t.id
        ORDER BY random() LIMIT 20
    LOOP
        BEGIN
            CONTINUE WHEN NOT edu_matrix_hub_schema._tenant_lock(tenant_id, 'access', true);
            SELECT * INTO tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = tenant_id;
            -- It may have been opened meanwhile.
            CONTINUE WHEN tenant.access <> 'Suspended' OR tenant.status = 'dropped';
            sessions := edu_matrix_hub_schema._close_tenant_logins(tenant_id,
                                                                      edu_matrix_hub_schema._backup_login(tenant));
            CONTINUE WHEN (sessions ->> 'ended')::integer = 0;
            tenants := tenants + 1;
            PERFORM edu_matrix_hub_schema._log_ended_sessions(tenant_id, started,
                format('end the sessions of suspended schema "%s"', tenant.schema_name), sessions);
        EXCEPTION WHEN OTHERS THEN
            CONTINUE;
        END;
    END LOOP;
    RETURN tenants;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._end_suspended_sessions() FROM PUBLIC;
