-- Closes a tenant's run login after a session of the operator's, in this order: it may not log in, it has no password,
-- its sessions end, and they are gone. The first call answers `partial`: once it is committed, another ends what came
-- in meanwhile. Called for a tenant without such a session, or that is gone, it is `unchanged`.
--
-- options: {schema_id, requested_by?}.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.close_tenant_session(epoch bigint, installation_id uuid, options jsonb)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '2s'
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    tenant_id    CONSTANT uuid := (options ->> 'schema_id')::uuid;
    attempt      text := format('close the session of tenant %s', tenant_id);
    answer       jsonb := edu_matrix_hub_schema._hold_lane(epoch, installation_id);
    tenant       edu_matrix_hub_schema.tenant_schemas;
    goes_on      boolean;
    error_detail text;
BEGIN
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    BEGIN
        IF NOT edu_matrix_hub_schema._tenant_lock(tenant_id, 'access', true) THEN
            PERFORM edu_matrix_hub_schema._refuse('busy', 'another call is at work on this tenant');
        END IF;
        -- Also of one that was set aside meanwhile.
        SELECT * INTO tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = tenant_id;
        attempt := format('close the session of schema "%s"', tenant.schema_name);
        goes_on := edu_matrix_hub_schema._close_run_login(tenant);
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('close_tenant_session', tenant.id, options ->> 'requested_by',
                                                  started, attempt, SQLSTATE, SQLERRM, error_detail);
    END;
    RETURN edu_matrix_hub_schema._result(
        CASE goes_on WHEN true THEN 'partial' WHEN false THEN 'success' ELSE 'unchanged' END,
        format('the session of schema "%s" is closed%s', tenant.schema_name,
               CASE WHEN goes_on THEN '; commit, and call again' ELSE '' END), tenant.id);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.close_tenant_session(bigint, uuid, jsonb) FROM PUBLIC;
