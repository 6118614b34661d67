-- Closes the logins before the ones in use whose grace is over, of tenants that were released: no pass of an object
-- does it for these. Returns how many; a heartbeat calls this, and the one after the closing ends the sessions that
-- came in before its commit. Where there are none it costs one look at an index.
--
-- It waits for no lock and is soon over, and what fails is left for the next heartbeat. Tenants come in no order, so
-- that those that fail do not keep others from their turn. Where another database of the server uses the tenant's roles
-- too, its logins stay as they are.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._end_released_graces() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '100ms'
AS $function$
DECLARE
    started    CONSTANT timestamptz := clock_timestamp();
    due        record;
    tenant     edu_matrix_hub_schema.tenant_schemas;
    credential edu_matrix_hub_schema.tenant_credentials;
    closed     jsonb;
    tenants    integer := 0;
BEGIN
    FOR due IN
        SELECT c.schema_id, c.purpose
        FROM edu_matrix_hub_schema.tenant_credentials AS c
        JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = c.schema_id
        WHERE c.previous_until < started AND t.status = 'released'
        ORDER BY random() LIMIT 20
    LOOP
        EXIT WHEN clock_timestamp() > started + interval '1 second';
        BEGIN
            CONTINUE WHEN NOT edu_matrix_hub_schema._tenant_lock(due.schema_id, 'access', true);
            SELECT * INTO tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = due.schema_id;
            SELECT * INTO credential FROM edu_matrix_hub_schema.tenant_credentials AS c
            WHERE c.schema_id = due.schema_id AND c.purpose = due.purpose;
            -- It may have been reclaimed meanwhile.
            CONTINUE WHEN tenant.status <> 'released' OR credential.previous_until < started IS NOT TRUE
                       OR edu_matrix_hub_schema._logins_are_others(tenant);
            closed := edu_matrix_hub_schema._close_previous(tenant, credential);
            tenants := tenants + 1;
            IF credential.previous_closed_at IS NULL OR closed ->> 'ended' <> '0' THEN
                PERFORM edu_matrix_hub_schema._log(tenant.id, 'end_previous_login', 'success', NULL, started,
                    format('close the previous login of schema "%s", which was released', tenant.schema_name), closed);
            END IF;
        EXCEPTION WHEN OTHERS THEN
            CONTINUE;
        END;
    END LOOP;
    RETURN tenants;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._end_released_graces() FROM PUBLIC;
