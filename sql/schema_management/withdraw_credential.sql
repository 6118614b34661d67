-- Ends what an application of a tenant logs in with: both logins are closed, their passwords are forgotten and their
-- sessions end, at once. The next credential opens one again.
--
-- options: {schema_id, purpose, requested_by?}. detail: {closed: [login...], ended, not_ended: [{pid, role}...]}.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.withdraw_credential(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '2s'
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    attempt      text := format('withdraw the credential of tenant %s', options ->> 'schema_id');
    tenant       edu_matrix_hub_schema.tenant_schemas;
    closed       jsonb;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        tenant := edu_matrix_hub_schema._lock_tenant((options ->> 'schema_id')::uuid, 'access', true);
        attempt := format('withdraw the credential of schema "%s"', tenant.schema_name);
        closed := edu_matrix_hub_schema._withdraw(tenant, options ->> 'purpose');
        IF closed IS NULL THEN
            RETURN edu_matrix_hub_schema._result('unchanged',
                format('schema "%s" has no such credential', tenant.schema_name), tenant.id);
        END IF;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('withdraw_credential', tenant.id, options ->> 'requested_by', started,
                                                  attempt, SQLSTATE, SQLERRM, error_detail);
    END;
    PERFORM edu_matrix_hub_schema._log(tenant.id, 'withdraw_credential', 'success', options ->> 'requested_by', started,
                                       attempt, closed);
    RETURN edu_matrix_hub_schema._result('success',
        format('the credential of schema "%s" is withdrawn, %s sessions ended', tenant.schema_name, closed ->> 'ended'),
        tenant.id, closed);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.withdraw_credential(jsonb) FROM PUBLIC;

-- The same of a tenant that the caller has locked, for one purpose or all; null when there is no credential.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._withdraw(tenant edu_matrix_hub_schema.tenant_schemas,
                                                           purpose text DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    logins text[];
BEGIN
    WITH gone AS (
        DELETE FROM edu_matrix_hub_schema.tenant_credentials AS c
        WHERE c.schema_id = tenant.id AND c.purpose = coalesce(_withdraw.purpose, c.purpose)
        RETURNING c.login, c.previous_login
    )
    SELECT array_agg(DISTINCT l.name ORDER BY l.name) INTO logins
    FROM gone AS g CROSS JOIN LATERAL (VALUES (g.login), (g.previous_login)) AS l (name)
    WHERE l.name IS NOT NULL;
    IF logins IS NULL THEN
        RETURN NULL;
    END IF;
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET reported = NULL, updated_at = now() WHERE t.id = tenant.id;
    RETURN edu_matrix_hub_schema._close_logins(tenant, logins) || jsonb_build_object('closed', logins);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._withdraw(edu_matrix_hub_schema.tenant_schemas, text) FROM PUBLIC;
