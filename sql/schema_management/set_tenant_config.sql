-- Stores a tenant's configuration and quota. options: {schema_id, config?, quota_limit?, requested_by?}. A key that is
-- left out stays as it is; quota_limit null means none. `version` grows with every change, so that a reader sees it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.set_tenant_config(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    attempt      text := format('set configuration of tenant %s', options ->> 'schema_id');
    tenant       edu_matrix_hub_schema.tenant_schemas;
    new_version  bigint;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        tenant := edu_matrix_hub_schema._lock_tenant((options ->> 'schema_id')::uuid, 'access', true);
        attempt := format('set configuration of schema "%s"', tenant.schema_name);
        IF options ? 'config' THEN
            tenant.config := coalesce(nullif(options -> 'config', 'null'), '{}');
        END IF;
        IF options ? 'quota_limit' THEN
            tenant.quota_limit := (options ->> 'quota_limit')::bigint;
        END IF;
        UPDATE edu_matrix_hub_schema.tenant_schemas AS t
        SET config = tenant.config, quota_limit = tenant.quota_limit, version = t.version + 1, updated_at = now()
        WHERE t.id = tenant.id AND (t.config, t.quota_limit) IS DISTINCT FROM (tenant.config, tenant.quota_limit)
        RETURNING t.version INTO new_version;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('set_tenant_config', tenant.id, options ->> 'requested_by', started,
                                                  attempt, SQLSTATE, SQLERRM, error_detail);
    END;
    IF new_version IS NULL THEN
        RETURN edu_matrix_hub_schema._result('unchanged',
                                             format('configuration of schema "%s" is as wanted', tenant.schema_name),
                                             tenant.id, jsonb_build_object('version', tenant.version));
    END IF;
    PERFORM edu_matrix_hub_schema._log(tenant.id, 'set_tenant_config', 'success',
                                       options ->> 'requested_by', started, attempt,
                                       jsonb_build_object('version', new_version));
    RETURN edu_matrix_hub_schema._result('success', format('configuration of schema "%s" has version %s',
                                                           tenant.schema_name, new_version),
                                         tenant.id, jsonb_build_object('version', new_version));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.set_tenant_config(jsonb) FROM PUBLIC;
