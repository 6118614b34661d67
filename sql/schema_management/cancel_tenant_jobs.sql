-- Gives up all jobs that end with their tenant, before it is dropped: the snapshots and archives that are not complete,
-- and what is about the tenant itself. `unchanged` when there are none. A snapshot that runs goes on holding the
-- tenant's structure lock until its session hears of it, and setting aside is `busy` until then.
--
-- options: {schema_id, requested_by?}.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.cancel_tenant_jobs(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    started       CONSTANT timestamptz := clock_timestamp();
    requester     CONSTANT text := coalesce(options ->> 'requested_by', session_user::text);
    tenant_id     CONSTANT uuid := (options ->> 'schema_id')::uuid;
    attempt       CONSTANT text := format('cancel the jobs of tenant %s', coalesce(options ->> 'schema_id', '(none)'));
    cancelled     integer;
    error_message text;
    error_detail  text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        cancelled := edu_matrix_hub_schema._cancel_jobs(tenant_id, NULL, false);
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_message = MESSAGE_TEXT, error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('cancel_jobs', tenant_id, requester, started, attempt, SQLSTATE,
                                                  error_message, error_detail);
    END;
    IF cancelled = 0 THEN
        RETURN edu_matrix_hub_schema._result('unchanged', 'no job is under way', tenant_id,
                                             jsonb_build_object('cancelled', 0));
    END IF;
    PERFORM edu_matrix_hub_schema._log(tenant_id, 'cancel_jobs', 'success', requester, started, attempt,
                                       jsonb_build_object('cancelled', cancelled));
    RETURN edu_matrix_hub_schema._result('success', format('%s jobs cancelled', cancelled), tenant_id,
                                         jsonb_build_object('cancelled', cancelled));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.cancel_tenant_jobs(jsonb) FROM PUBLIC;
